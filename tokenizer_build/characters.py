"""Characters of counted pieces: how often each occurs, which of them cover a text, what a charset knows."""

import unicodedata

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenizer_build.piece_counts import SCHEMA


def count_characters(counted: pa.Table) -> NDArray[np.int64]:
    """How often each code point occurs in counted pieces: int64 [0x110000].

    ValueError if a piece is no UTF-8 by itself (pieces of text always are).
    """
    counts = np.zeros(0x110000, np.int64)
    for chunk in counted.to_batches(max_chunksize=1 << 16):
        pieces = chunk["piece"].to_pylist()
        codes = np.frombuffer(b"".join(pieces).decode().encode("utf-32-le"), np.uint32)
        lengths = np.fromiter((len(piece.decode()) for piece in pieces), np.int64, len(pieces))
        np.add.at(counts, codes, np.repeat(chunk["count"].to_numpy(), lengths))
    return counts


def covering(counts: NDArray[np.int64], coverage: float) -> NDArray[np.int64]:
    """The fewest code points that make up this part of all occurrences, the most frequent first."""
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    reached = np.cumsum(counts[order])
    if not len(order):
        return order
    enough = int(np.searchsorted(reached, int(int(reached[-1]) * coverage))) + 1
    return order[:enough]


def charset_characters(charset: str) -> list[str]:
    """Letters outside ASCII of a charset of one or two bytes (iso8859_8, gb2312), by their place in it."""
    found = []
    codes = [bytes([code]) for code in range(0x80, 0x100)]
    codes += [bytes([lead, trail]) for lead in range(0x81, 0xFF) for trail in range(0x40, 0xFF)]
    for code in codes:
        try:
            character = code.decode(charset)
        except UnicodeDecodeError:
            continue
        is_letter = len(character) == 1 and unicodedata.category(character).startswith("L")
        if is_letter and unicodedata.is_normalized("NFC", character):
            found.append(character)
    return found


def as_pieces(counts: dict[str, int]) -> pa.Table:
    """Characters as a table of counted pieces."""
    return pa.table(
        [
            pa.array([character.encode() for character in counts], pa.large_binary()),
            pa.array(list(counts.values()), pa.int64()),
        ],
        schema=SCHEMA,
    )
