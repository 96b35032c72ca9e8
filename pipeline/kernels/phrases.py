"""A few fixed phrases of ASCII, looked for at every byte of a text in any case."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only
from pipeline.kernels.jit import kernel


class Phrases(NamedTuple):
    """uint8 `letters` of all phrases, one behind the other; int64 `ends`, where each begins and the last
    ends; int64 `meanings`, bits; bool [256] `firsts`, the bytes that one of them begins with.
    """

    letters: NDArray[np.uint8]
    ends: NDArray[np.int64]
    meanings: NDArray[np.int64]
    firsts: NDArray[np.bool_]


def phrase_table(phrases: Mapping[str, int]) -> Phrases:
    """Phrases in lower case and the bits that they mean."""
    letters = [np.frombuffer(phrase.encode("ascii"), np.uint8) for phrase in phrases]
    ends = np.cumsum([0, *map(len, letters)]).astype(np.int64)
    firsts = np.zeros(256, np.bool_)
    for phrase in letters:
        firsts[phrase[0]] = firsts[ord(chr(phrase[0]).upper())] = True
    meanings = np.array(list(phrases.values()), np.int64)
    return Phrases(
        read_only(np.concatenate(letters)), read_only(ends), read_only(meanings), read_only(firsts)
    )


@kernel
def meaning_at(text, at, stop, phrases):
    """Bits of the phrases that begin at byte `at` < `stop`, together."""
    bits = np.int64(0)
    if not phrases.firsts[text[at]]:
        return bits
    for number in range(phrases.meanings.size):
        first = phrases.ends[number]
        size = phrases.ends[number + 1] - first
        same = at + size <= stop
        place = np.int64(0)
        while same and place < size:
            byte = text[at + place]
            if 0x41 <= byte <= 0x5A:
                byte |= 0x20
            same = byte == phrases.letters[first + place]
            place += 1
        if same:
            bits |= phrases.meanings[number]
    return bits
