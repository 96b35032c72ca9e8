"""A vocabulary from text: start tokens, then blocks of characters and merges, then a card that says it all.

Order of work: the text is counted once, per language and source; each block encodes the pieces of its texts
with the vocabulary so far and goes on merging. So every token is made of two earlier ones, whatever block it
came with, and encoding its own bytes gives it back. The result depends on text and recipe only.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tokenizer_build.bpe_train import lay_out, train_merges
from tokenizer_build.build_recipe import Block, BuildRecipe, RecipeError
from tokenizer_build.characters import as_pieces, charset_characters, count_characters, covering
from tokenizer_build.documents import read_documents
from tokenizer_build.merge_table import Merges, byte_merges, encode_words, split_tokens
from tokenizer_build.piece_counts import SCHEMA, PieceCounter, in_order
from tokenizer_build.vocabulary import (
    CL100K_PATTERN_2023,
    PATTERNS,
    QWEN_PATTERN,
    PieceRule,
    find_vocabulary,
    load_ranks,
)

_BATCH_BYTES = 8_000_000
_SCALE = 1 << 40  # a share of 1 is so many weighted bytes: integers with more than enough precision

Say = Callable[[str], None]


@dataclass
class Counted:
    """One source of one language: what was counted of it."""

    language: str
    source: str
    pieces: pa.Table
    documents: int = 0
    bytes: int = 0
    sha256: str = ""  # of all its documents, each with its length before it


@dataclass
class Corpus:
    """The text of a build, counted; and what was held back, as documents."""

    counted: list[Counted] = field(default_factory=list)
    held_back: dict[str, list[str]] = field(default_factory=dict)


def recipe_pattern(recipe: BuildRecipe) -> str:
    """The pattern that the recipe names, in full."""
    return QWEN_PATTERN if recipe.pattern == "qwen" else CL100K_PATTERN_2023


def count_corpus(recipe: BuildRecipe, data: Path) -> Corpus:
    """Read and count all texts of a recipe."""
    corpus = Corpus()
    rule = PATTERNS[recipe_pattern(recipe)]
    for text in recipe.texts:
        sources: dict[str, _Source] = {}
        kept_out = corpus.held_back.setdefault(text.language, [])
        for document in read_documents(text, data, recipe.held_back):
            if document.held_back:
                kept_out.append(document.text)
            else:
                if document.source not in sources:
                    sources[document.source] = _Source(rule)
                sources[document.source].add(document.text)
        corpus.counted += [source.done(text.language, name) for name, source in sorted(sources.items())]
    return corpus


class _Source:
    """Counts the documents of one source, in batches."""

    def __init__(self, rule: PieceRule) -> None:
        self._counter = PieceCounter(rule)
        self._batch: list[str] = []
        self._waiting, self._bytes, self._documents = 0, 0, 0
        self._digest = hashlib.sha256()

    def add(self, text: str) -> None:
        content = text.encode()
        self._digest.update(b"%d:" % len(content) + content)
        self._bytes += len(content)
        self._documents += 1
        self._waiting += len(content)
        self._batch.append(text)
        if self._waiting >= _BATCH_BYTES:
            self._count()

    def done(self, language: str, name: str) -> Counted:
        self._count()
        pieces = in_order(self._counter.table())
        return Counted(language, name, pieces, self._documents, self._bytes, self._digest.hexdigest())

    def _count(self) -> None:
        self._counter.add(pa.array(self._batch, pa.large_string()))
        self._batch, self._waiting = [], 0


def start_merges(start: str, *, single_digits: bool) -> Merges:
    """The start vocabulary: the 256 bytes, or a vocabulary; without its multi-digit tokens if asked.

    The digit rule is that of Qwen: tokens of two or more ASCII digits alone are taken out (1,100 of
    cl100k_base), the ids behind them move up. RecipeError if another token is made of one.
    """
    if start == "bytes":
        return byte_merges()
    _, ranks = load_ranks(find_vocabulary(start), sha256=None)
    tokens = list(ranks)
    if single_digits:
        tokens = [token for token in tokens if not re.fullmatch(rb"[0-9]{2,}", token)]
    try:
        return split_tokens(tokens)
    except ValueError as error:
        raise RecipeError(f"start {start!r}: {error}") from None


def build_tokens(
    recipe: BuildRecipe, corpus: Corpus, say: Say = print
) -> tuple[Merges, list[dict[str, Any]]]:
    """The vocabulary, and every block's first id and size. RecipeError if the text gives too few."""
    merges = start_merges(recipe.start, single_digits=recipe.single_digits)
    blocks: list[dict[str, Any]] = [{"name": recipe.start, "first_id": 0, "tokens": len(merges.tokens)}]
    for block in recipe.blocks:
        room = recipe.ranks - len(merges.tokens)
        if room <= 0:
            raise RecipeError(f"blocks.{block.name}: the {recipe.ranks} ranks are full before it")
        wanted = min(block.tokens or room, room)
        if block.kind == "characters":
            pieces, longest = _characters(block, corpus, merges), 1 << 20
        else:
            pieces, longest = _scaled(block, corpus), block.longest_bytes
        words = lay_out(pieces, merges.byte_ids())
        encode_words(words, merges)
        pairs = train_merges(words, merges.sizes(), wanted, longest=longest)
        blocks.append({"name": block.name, "first_id": len(merges.tokens), "tokens": len(pairs)})
        say(f"{block.name}: {len(pairs):,} tokens from id {len(merges.tokens):,}")
        if block.tokens and block.kind == "merges" and len(pairs) < wanted:
            raise RecipeError(
                f"blocks.{block.name}.tokens is {block.tokens}: its text has {len(pairs)} merges"
            )
        merges = merges.extended(pairs)
    if len(merges.tokens) < recipe.ranks:
        given = f"ranks is {recipe.ranks}, the blocks give {len(merges.tokens)}"
        raise RecipeError(f"{given}: let the last block have tokens = 0")
    return merges, blocks


def _chosen(block: Block, corpus: Corpus) -> Iterable[tuple[int, list[Counted]]]:
    """Each share of a block with the sources that it stands for; RecipeError if it stands for none."""
    for name, share in block.shares.items():
        language, _, source = name.partition("/")
        chosen = [
            counted
            for counted in corpus.counted
            if counted.language == language
            and (counted.source == source if source else f"{language}/{counted.source}" not in block.shares)
        ]
        if not chosen:
            sources = sorted({counted.source for counted in corpus.counted if counted.language == language})
            raise RecipeError(
                f"blocks.{block.name}.shares: no text {name!r}; {language} has {', '.join(sources)}"
            )
        if share:
            yield share, chosen


def _scaled(block: Block, corpus: Corpus) -> pa.Table:
    """The pieces of a block's texts, their counts scaled as the shares say. A piece may stand there twice."""
    tables = []
    for share, chosen in _chosen(block, corpus):
        weight = max(1, share * _SCALE // max(1, sum(counted.bytes for counted in chosen)))
        for counted in chosen:
            counts = pa.array(counted.pieces["count"].to_numpy() * weight, pa.int64())
            tables.append(pa.table([counted.pieces["piece"], counts], schema=SCHEMA))
    return pa.concat_tables(tables) if tables else SCHEMA.empty_table()


def _characters(block: Block, corpus: Corpus, merges: Merges) -> pa.Table:
    """The characters that a block adds, with their counts; those of its charsets count once at least."""
    counts = count_characters(_scaled(block, corpus))
    wanted = [chr(code) for code in covering(counts, block.coverage)]
    for charset in block.charsets:
        wanted += charset_characters(charset)
    known = set(merges.tokens)
    return as_pieces(
        {
            character: max(1, int(counts[ord(character)]))
            for character in wanted
            if character.encode() not in known
        }
    )


def build_card(
    recipe: BuildRecipe, corpus: Corpus, blocks: list[dict[str, Any]], merges: Merges, sha256: str
) -> dict[str, Any]:
    """What there is to say of a vocabulary file: sources, sizes, digests, settings."""
    return {
        "name": recipe.name,
        "file": f"{recipe.name}.tiktoken",
        "n_ranks": len(merges.tokens),
        "sha256": sha256,
        "pattern": recipe_pattern(recipe),
        "normalization": "NFC",
        "purpose": recipe.purpose,
        "base": _base(recipe),
        "blocks": blocks,
        "held_back": f"every {recipe.held_back}th document" if recipe.held_back else "nothing",
        "sources": [
            {
                "language": counted.language,
                "source": counted.source,
                "documents": counted.documents,
                "bytes": counted.bytes,
                "pieces": len(counted.pieces),
                "sha256": counted.sha256,
            }
            for counted in corpus.counted
        ],
        "recipe": asdict(recipe),
    }


def _base(recipe: BuildRecipe) -> dict[str, Any]:
    if recipe.start == "bytes":
        return {"vocabulary": "bytes", "note": "the 256 single bytes in their order; every merge is our own"}
    vocabulary, _ = load_ranks(find_vocabulary(recipe.start), sha256=None)
    note = "its ranks come first and in its order"
    if recipe.single_digits:
        note += ", less its tokens of several digits, the gaps closed"
    return {"vocabulary": vocabulary.name, "sha256": vocabulary.sha256, "note": note}


def check_tokens(merges: Merges) -> None:
    """Every token must come back from encoding its own bytes, through the two that it was made of."""
    again = split_tokens(merges.tokens)
    if not np.array_equal(again.pairs, merges.pairs):
        first = int(np.flatnonzero((again.pairs != merges.pairs).any(axis=1))[0])
        raise AssertionError(
            f"token {first} {merges.tokens[first]!r} is encoded by other merges than it was made by"
        )
