"""A vocabulary from text: start tokens, then blocks of characters and merges, then a card that says it all.

Order of work: the text is counted once, per language and source; each block encodes the pieces of its texts
with the vocabulary so far and goes on merging. So every token is made of two earlier ones, whatever block it
came with, and encoding its own bytes gives it back. The result depends on text and recipe only.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tokenizer_build.bpe_train import lay_out, train_merges
from tokenizer_build.build_recipe import Block, BuildRecipe, RecipeError
from tokenizer_build.characters import as_pieces, charset_characters, count_characters, covering
from tokenizer_build.documents import Document, read_documents
from tokenizer_build.merge_table import Merges, byte_merges, count_tokens, encode_words, split_tokens
from tokenizer_build.piece_counts import SCHEMA, PieceCounter, merge_counts
from tokenizer_build.pruning import prune
from tokenizer_build.vocabulary import (
    CL100K_PATTERN_2023,
    PATTERNS,
    QWEN_PATTERN,
    PieceRule,
    find_vocabulary,
    load_ranks,
)

PARTS = 8  # of each source, by which `prune` sees how widely a token is used
_BATCH = 1000  # documents
_COUNTER_BYTES = 1 << 28
_SCALE = 1 << 40  # a share of 1 is so many weighted bytes: integers with more than enough precision

Say = Callable[[str], None]


@dataclass
class Counted:
    """One source of one language: what was counted of it, in parts of about equally many documents."""

    language: str
    source: str
    licences: list[str]
    parts: list[pa.Table]
    documents: int
    bytes: int
    sha256: str  # of all its documents, each with its length before it


@dataclass
class Corpus:
    """The text of a build, counted; and what was held back, as documents."""

    counted: list[Counted] = field(default_factory=list)
    held_back: dict[str, list[str]] = field(default_factory=dict)


def recipe_pattern(recipe: BuildRecipe) -> str:
    """The pattern that the recipe names, in full."""
    return QWEN_PATTERN if recipe.pattern == "qwen" else CL100K_PATTERN_2023


def count_corpus(recipe: BuildRecipe, data: Path) -> Corpus:
    """Read and count all texts of a recipe, one at a time."""
    corpus = Corpus()
    rule = PATTERNS[recipe_pattern(recipe)]
    for text in recipe.texts:
        sources: dict[str, list[Document]] = {}
        for document in read_documents(text, data, recipe.held_back):
            if document.held_back:
                corpus.held_back.setdefault(text.language, []).append(document.text)
            else:
                sources.setdefault(document.source, []).append(document)
        corpus.counted += [
            count_source(text.language, name, documents, rule) for name, documents in sorted(sources.items())
        ]
    return corpus


def count_source(language: str, source: str, documents: list[Document], rule: PieceRule) -> Counted:
    """Count the pieces of documents; each of the PARTS is a run of them, so that most books stay whole."""
    digest = hashlib.sha256()
    size = 0
    for document in documents:
        content = document.text.encode()
        digest.update(b"%d:" % len(content) + content)
        size += len(content)
    counter = PieceCounter(rule, memory_bytes=_COUNTER_BYTES)
    parts = []
    for part in range(PARTS):
        begin, end = (len(documents) * at // PARTS for at in (part, part + 1))
        for start in range(begin, end, _BATCH):
            batch = [document.text for document in documents[start : min(end, start + _BATCH)]]
            counter.add(pa.array(batch, pa.large_string()))
        parts.append(counter.table())
    licences = sorted({document.licence for document in documents})
    return Counted(language, source, licences, parts, len(documents), size, digest.hexdigest())


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
        first = len(merges.tokens)
        if block.kind == "characters":
            merges = _add_characters(block, corpus, merges, wanted)
        else:
            merges = _add_merges(block, corpus, merges, wanted)
        added = len(merges.tokens) - first
        blocks.append({"name": block.name, "first_id": first, "tokens": added})
        say(f"{block.name}: {added:,} tokens from id {first:,}")
        if block.tokens and block.kind == "merges" and added < wanted:
            raise RecipeError(f"blocks.{block.name}.tokens is {block.tokens}: its text has {added} merges")
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


def _scaled(block: Block, corpus: Corpus, parts: Sequence[int]) -> pa.Table:
    """The pieces of parts of a block's texts, their counts scaled as the shares say."""
    tables, weights = [], []
    for share, chosen in _chosen(block, corpus):
        weight = max(1, share * _SCALE // max(1, sum(counted.bytes for counted in chosen)))
        for counted in chosen:
            tables += [counted.parts[part] for part in parts]
            weights += [weight] * len(parts)
    return merge_counts(tables, weights) if tables else SCHEMA.empty_table()


def _add_characters(block: Block, corpus: Corpus, merges: Merges, wanted: int) -> Merges:
    """Each character that a block adds becomes a token; those of its charsets count once at least."""
    counts = count_characters(_scaled(block, corpus, range(PARTS)))
    characters = [chr(code) for code in covering(counts, block.coverage)]
    for charset in block.charsets:
        characters += charset_characters(charset)
    known = set(merges.tokens)
    weights = {each: max(1, int(counts[ord(each)])) for each in characters if each.encode() not in known}
    words = lay_out(as_pieces(weights), merges.byte_ids())
    encode_words(words, merges)
    return merges.extended(train_merges(words, merges.sizes(), wanted))


def _add_merges(block: Block, corpus: Corpus, merges: Merges, wanted: int) -> Merges:
    """BPE over the pieces of a block's texts, and less again of what is least widely used."""
    first = len(merges.tokens)
    words = lay_out(_scaled(block, corpus, range(PARTS)), merges.byte_ids())
    encode_words(words, merges)
    pairs = train_merges(words, merges.sizes(), wanted + block.spare, longest=block.longest_bytes)
    merges = merges.extended(pairs)
    if len(pairs) <= wanted:
        return merges
    usage = [count_tokens(_scaled(block, corpus, [part]), merges) for part in range(PARTS)]
    return prune(merges, first, wanted, np.stack(usage))


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
                "licences": counted.licences,
                "documents": counted.documents,
                "bytes": counted.bytes,
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
