"""Tokens that no text can produce: cut apart by the pattern, or not in the normal form that text is put in.

A token counts as reachable when a text that holds it is cut into pieces one of which contains it whole: the
token alone, or the token with a line end behind it (white space that ends with a space joins a longer run
only then). Tokens that are parts of a character are reachable through the pieces of their characters.
"""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tokenizer_build.scan import split_pieces
from tokenizer_build.vocabulary import PieceRule


class Unreachable(NamedTuple):
    """A token and why no text produces it: "split by the pattern" or "not NFC"."""

    token_id: int
    token: str
    reason: str


SPLIT, NOT_NFC = "split by the pattern", "not NFC"


def find_unreachable(tokens: Sequence[bytes], rule: PieceRule, *, nfc: bool = True) -> list[Unreachable]:
    """Every token of a vocabulary that cannot come out of encoding, in the order of ids."""
    texts: list[tuple[int, str]] = []
    for token_id, token in enumerate(tokens):
        try:
            texts.append((token_id, token.decode()))
        except UnicodeDecodeError:
            continue
    whole = _first_piece_holds([text for _, text in texts], rule)
    followed = _first_piece_holds([text + "\n" for _, text in texts], rule, less=1)
    found = []
    for (token_id, text), alone, before_line_end in zip(texts, whole, followed, strict=True):
        if not (alone or before_line_end):
            found.append(Unreachable(token_id, text, SPLIT))
        elif nfc and not unicodedata.is_normalized("NFC", text):
            found.append(Unreachable(token_id, text, NOT_NFC))
    return found


def _first_piece_holds(texts: Sequence[str], rule: PieceRule, less: int = 0) -> np.ndarray:
    """Whether the first piece of each text is all of it, the last `less` bytes aside."""
    array = pa.array(texts, pa.large_string())
    offsets = np.frombuffer(array.buffers()[1], np.int64, len(texts) + 1)
    ends = split_pieces(array, rule)
    first = ends[np.searchsorted(ends, offsets[:-1], side="right")]
    return first >= offsets[1:] - less
