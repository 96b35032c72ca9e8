"""Words added to a finished vocabulary, as the Qwen repository's user extension does it.

The new tokens get ids behind all others, so every text without the words keeps its ids. A word is a line of
`WORD<TAB>FREQUENCY`; it is put into NFC; of a repeated one the frequencies are added, a frequency that is no
whole number counts as 1. A word that the pattern cuts into several pieces could never be one token and is
left out, one that is a token already too; both are told.

Bytes of the words are encoded with the vocabulary; then the most frequent pair is merged, again and again,
until every word is one token. Ties: the smaller by length in characters, length in bytes, text, bytes.
"""

import base64
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from tokenizer_build.scan import split_pieces
from tokenizer_build.vocabulary import PATTERNS, QWEN_PATTERN

Word = tuple[bytes, ...]


def read_words(path: Path) -> tuple[dict[str, int], list[str]]:
    """Words and frequencies of a file, in its order, and warnings; ValueError if the file is no UTF-8."""
    words: dict[str, int] = {}
    warnings = []
    for line in path.read_text("utf-8").splitlines():
        word, _, frequency = line.strip().partition("\t")
        if not word:
            continue
        word = unicodedata.normalize("NFC", word)
        count = int(frequency) if frequency.strip().isdecimal() else 1
        if word in words:
            warnings.append(f"{word!r} is repeated, its frequencies are added")
        words[word] = words.get(word, 0) + count
    return words, warnings


def add_words(
    tokens: Sequence[bytes], words: Mapping[str, int], *, start_id: int = 0, pattern: str = QWEN_PATTERN
) -> tuple[dict[bytes, int], list[str]]:
    """New tokens and their ids, and warnings. An id below the number of ranks is raised to it (0: that)."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    start_id = max(start_id, len(tokens))
    warnings = []
    left: dict[Word, int] = {}
    for word, count in words.items():
        encoded = word.encode()
        if len(split_pieces(pa.array([word], pa.large_string()), PATTERNS[pattern])) > 1:
            warnings.append(f"{word!r} is left out: the pattern cuts it apart")
        elif encoded in ranks:
            warnings.append(f"{word!r} is left out: it is a token already")
        else:
            left[_encode(encoded, ranks)] = count
    additions: dict[bytes, int] = {}
    while left:
        counts: Counter[tuple[bytes, bytes]] = Counter()
        for word, count in left.items():
            for at in range(len(word) - 1):
                counts[word[at], word[at + 1]] += count
        best = min(counts, key=lambda pair: _order(pair, counts[pair]))
        additions[best[0] + best[1]] = start_id + len(additions)
        merged = {_merge(word, best): count for word, count in left.items()}
        left = {word: count for word, count in merged.items() if len(word) > 1}
    return additions, warnings


def write_additions(path: Path, additions: Mapping[bytes, int]) -> None:
    """The new tokens alone, one `BASE64 ID` per line, by id."""
    ordered = sorted(additions.items(), key=lambda entry: entry[1])
    path.write_bytes(b"".join(b"%s %d\n" % (base64.b64encode(token), id_) for token, id_ in ordered))


def _order(pair: tuple[bytes, bytes], count: int) -> tuple[int, int, int, str, bytes]:
    token = pair[0] + pair[1]
    text = token.decode(errors="replace")
    return -count, len(text), len(token), text, token


def _merge(word: Word, pair: tuple[bytes, bytes]) -> Word:
    merged: list[bytes] = []
    at = 0
    while at < len(word):
        if word[at : at + 2] == pair:
            merged.append(pair[0] + pair[1])
            at += 2
        else:
            merged.append(word[at])
            at += 1
    return tuple(merged)


def _encode(word: bytes, ranks: Mapping[bytes, int]) -> Word:
    """A word's tokens, lowest rank first; words are short, so plainly."""
    parts: Word = tuple(word[at : at + 1] for at in range(len(word)))
    while len(parts) > 1:
        pairs = {(parts[at], parts[at + 1]) for at in range(len(parts) - 1)}
        best = min(pairs, key=lambda pair: ranks.get(pair[0] + pair[1], len(ranks)))
        if best[0] + best[1] not in ranks:
            break
        parts = _merge(parts, best)
    return parts
