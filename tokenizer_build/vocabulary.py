"""Vocabulary files (.tiktoken): where they are, what is in them, and how they are written.

A file has one token per line, base64 of its bytes and its rank; ranks are ids and merge order in one. What
the file does not say comes with its name, or stands in the card beside it (`NAME.card.json`): the pattern
that cuts text into pieces, and the special tokens. A file without either is taken as one of the Qwen kind.

Files are parsed, never executed, and a file of a known name is taken only with the hash that it is known by.
"""

import base64
import binascii
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

# The pattern of the released Qwen: that of cl100k_base with single digits (\p{N} for \p{N}{1,3}).
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K_PATTERN_2023 = QWEN_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
# As tiktoken has it since 0.8. Not quite the same: `\s++$` comes first, so white space that ends a text is
# one piece even if it holds a line end.
CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|"
    r" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)


class PieceRule(NamedTuple):
    """What distinguishes the patterns that `scan` knows."""

    digits: int  # a number is cut into pieces of so many digits at most
    one_tail: bool  # white space that ends a text is one piece, line ends or not


PATTERNS = {
    QWEN_PATTERN: PieceRule(digits=1, one_tail=False),
    CL100K_PATTERN_2023: PieceRule(digits=3, one_tail=False),
    CL100K_PATTERN: PieceRule(digits=3, one_tail=True),
}

# In the order of their ids, from the number of ranks on (released Qwen: 3 named and 205 extras).
QWEN_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205)))
SPECIAL_TOKENS = len(QWEN_SPECIALS)
CL100K_SPECIALS = {  # tiktoken_ext/openai_public.py
    "<|endoftext|>": 100_257,
    "<|fim_prefix|>": 100_258,
    "<|fim_middle|>": 100_259,
    "<|fim_suffix|>": 100_260,
    "<|endofprompt|>": 100_276,
}
END_OF_TEXT = "<|endoftext|>"
MAX_FILE_BYTES = 64_000_000  # the Qwen file has 2.6 MB; anything near this is no vocabulary


class Named(NamedTuple):
    """Where a vocabulary of a known name lies."""

    package: str
    inside: str  # path in the package
    sha256: str | None  # None where the package is this project's own


NAMED = {
    "sluice-152k": Named("tokenizer_build", "vocabularies/sluice-152k.tiktoken", None),
    "sluice-32k": Named("tokenizer_build", "vocabularies/sluice-32k.tiktoken", None),
    "qwen": Named(
        "dashscope",
        "resources/qwen.tiktoken",
        "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
    ),
    "cl100k_base": Named(
        "litellm",
        "litellm_core_utils/tokenizers/9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What readers of token shards must know of a vocabulary; shards and manifest carry it."""

    name: str
    file: str  # base name of the .tiktoken file
    sha256: str  # of its bytes
    n_vocab: int  # all ids are below: ranks and special tokens
    eot: int  # id of <|endoftext|>


def find_vocabulary(name_or_path: str) -> Path:
    """The .tiktoken file of a packaged name ("sluice-32k", "qwen", "cl100k_base") or of a path.

    "qwen" lies in the package `dashscope`, "cl100k_base" in `litellm`; both are found but never imported.
    FileNotFoundError says what exists and how to get it; ValueError if the file is not the one that its name
    stands for.
    """
    if name_or_path not in NAMED:
        path = Path(name_or_path).expanduser()
        if path.suffix == ".tiktoken" and path.is_file():
            return path
        raise FileNotFoundError(
            f"no vocabulary {name_or_path!r}: it is neither a packaged name ({', '.join(NAMED)})"
            " nor an existing .tiktoken file"
        )
    package, inside, sha256 = NAMED[name_or_path]
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(
            f"vocabulary {name_or_path!r} comes with the package {package!r}: pip install {package}"
        )
    path = Path(found.submodule_search_locations[0], inside)
    if not path.is_file():
        raise FileNotFoundError(f"the installed package {package!r} has no {inside}")
    if sha256 is not None and (actual := hashlib.sha256(path.read_bytes()).hexdigest()) != sha256:
        raise ValueError(f"{path} has sha256 {actual}, the vocabulary {name_or_path!r} has {sha256}")
    return path


def load_ranks(path: Path, *, sha256: str | None) -> tuple[Vocabulary, dict[bytes, int]]:
    """A vocabulary and its ranks (token bytes -> id) from a .tiktoken file; sha256 None takes any content.

    ValueError naming file and line unless ranks run from 0 without gap over distinct tokens, all 256 bytes
    among them.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{path} has {size} bytes, more than {MAX_FILE_BYTES}: not a vocabulary")
    content = path.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if sha256 is not None and actual != sha256:
        raise ValueError(f"{path} has sha256 {actual}, expected {sha256}")
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            encoded, rank = line.split(b" ")
            token = base64.b64decode(encoded, validate=True)
            if int(rank) != len(ranks):
                raise ValueError(f"rank {int(rank)} where {len(ranks)} is due")
        except (ValueError, binascii.Error) as error:
            raise ValueError(
                f"{path} line {number}: {error}; expected 'BASE64 RANK', ranks in order from 0"
            ) from None
        if not token or token in ranks:
            raise ValueError(f"{path} line {number}: token {token!r} is {'repeated' if token else 'empty'}")
        ranks[token] = len(ranks)
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise ValueError(
            f"{path} lacks {len(missing)} of the 256 single bytes, the first is 0x{missing[0]:02x}"
        )
    specials = special_tokens(path, len(ranks))
    name = next((name for name, place in NAMED.items() if place.sha256 == actual), path.stem)
    n_vocab = max(specials.values()) + 1
    return Vocabulary(name, path.name, sha256=actual, n_vocab=n_vocab, eot=specials[END_OF_TEXT]), ranks


def special_tokens(path: Path, n_ranks: int) -> dict[str, int]:
    """Special token -> id of a vocabulary file with so many ranks, in the order of their ids."""
    if path.name == Path(NAMED["cl100k_base"].inside).name or path.stem == "cl100k_base":
        return dict(CL100K_SPECIALS)
    return {special: n_ranks + i for i, special in enumerate(QWEN_SPECIALS)}


def pattern_of(path: Path) -> str:
    """The pattern that cuts text for this vocabulary file: its card's, cl100k_base's, or Qwen's.

    ValueError if the card names a pattern that `scan` does not know.
    """
    if path.name == Path(NAMED["cl100k_base"].inside).name or path.stem == "cl100k_base":
        return CL100K_PATTERN
    card = read_card(path)
    pattern = card.get("pattern", QWEN_PATTERN)
    if pattern not in PATTERNS:
        raise ValueError(f"{card_path(path)} names a pattern that is none of the known ones: {pattern!r}")
    return pattern


def card_path(path: Path) -> Path:
    """The card beside a vocabulary file."""
    return path.with_suffix(".card.json")


def read_card(path: Path) -> dict:
    """The card of a vocabulary file, empty if it has none; ValueError if it is the card of other content."""
    if not card_path(path).is_file():
        return {}
    card = json.loads(card_path(path).read_text("utf-8"))
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if card.get("sha256") != actual:
        raise ValueError(
            f"{card_path(path)} is of a file with sha256 {card.get('sha256')}, {path} has {actual}"
        )
    return card


def write_ranks(path: Path, tokens: Sequence[bytes]) -> str:
    """Write tokens in the order of their ranks; returns the file's sha256, for the card.

    ValueError if a token is empty or repeated, or one of the 256 bytes is missing (as `load_ranks`).
    """
    present = set(tokens)
    if len(present) != len(tokens) or b"" in present:
        raise ValueError(f"{path}: {len(tokens) - len(present)} tokens are repeated, or one is empty")
    missing = [byte for byte in range(256) if bytes([byte]) not in present]
    if missing:
        raise ValueError(f"{path}: the single byte 0x{missing[0]:02x} is no token")
    content = b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
