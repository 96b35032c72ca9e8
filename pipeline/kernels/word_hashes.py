"""Hashes of words for shingles: the words of pipeline/kernels/words.py, read as fast as their text allows.

The hash of a word is made of the UTF-8 of its lower case, eight bytes at a time, a curly apostrophe as ' and
without joiners, so that it is the same whichever way the word was read. Cost: 22 ns for a word of ASCII, 33
ns for a Han character, 100 ns for any other.
"""

import numpy as np

from pipeline.kernels.jit import count_zeros, kernel, load_eight
from pipeline.kernels.unicode_classes import JOINER
from pipeline.kernels.words import (
    APOSTROPHE,
    CURLY_APOSTROPHE,
    HASH_BASIS,
    HASH_FACTOR,
    mix_bits,
    next_word,
    read_character,
)

# Eight bytes at once: 0x80 plus a byte below 0x80, less a limit, keeps its upper bit if the byte reaches the
# limit.
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_HIGH = np.uint64(0x8080808080808080)
_SPACES = np.uint64(0x2020202020202020)  # the bit that makes a letter lower case; digits have it
_A, _BEYOND_Z = np.uint64(0x6161616161616161), np.uint64(0x7B7B7B7B7B7B7B7B)
_ZERO, _BEYOND_9 = np.uint64(0x3030303030303030), np.uint64(0x3A3A3A3A3A3A3A3A)
_THREE_BYTES = np.uint64(0xFFFFFF)
_HAN_FIRST_LEAD, _HAN_LAST_LEAD, _HEXAGRAMS = 0xE4, 0xE9, 0xB7  # U+4DC0 is E4 B7 80


@kernel
def fill_words(text, at, stop, tables, hashes, filled):
    """Words of ASCII are read eight bytes at a time, and Han characters one by one, without a branch that
    depends on how long a word is (a wrong guess costs as much as reading one); `next_word` reads all others.
    """
    last = np.int64(text.size) - 8  # up to here, eight bytes can be loaded
    while at < stop and filled < hashes.size:
        if at > last:
            at, filled = _fill_word(text, at, stop, tables, hashes, filled)
            continue
        start, hashed, run = at, HASH_BASIS, np.int64(8)
        while run == 8 and at <= last:
            eight = load_eight(text, at)  # pyright: ignore[reportCallIssue]
            lower = eight | _SPACES
            letters = ((lower | _HIGH) - _A) & ~((lower | _HIGH) - _BEYOND_Z)
            digits = ((eight | _HIGH) - _ZERO) & ~((eight | _HIGH) - _BEYOND_9)
            others = ~(letters | digits) & _HIGH | (eight & _HIGH)
            run = count_zeros(others) >> 3  # pyright: ignore[reportCallIssue]
            kept = lower & ~(_ALL << np.uint64(8 * min(run, 7)) << np.uint64(8 * (run - min(run, 7))))
            if run:
                hashed = (hashed ^ kept) * HASH_FACTOR
            at += run
        if run == 8 or at >= stop or text[at] >= 0x80 or text[at] == APOSTROPHE:
            if start == at and is_han(text, at, stop):
                three = load_eight(text, at) & _THREE_BYTES  # pyright: ignore[reportCallIssue]
                hashes[filled] = mix_bits((HASH_BASIS ^ three) * HASH_FACTOR)
                filled += 1
                at += 3
            else:
                at, filled = _fill_word(text, start, stop, tables, hashes, filled)
            continue
        hashes[filled] = mix_bits(hashed)
        filled += at > start
        at += 1
    return filled, at


@kernel
def is_han(text, at, stop):
    """Whether a character of U+4000 to U+9FFF that is a letter (no hexagram) begins here, and neither a mark
    nor a joiner can follow it.
    """
    if at + 3 > stop or not _HAN_FIRST_LEAD <= text[at] <= _HAN_LAST_LEAD:
        return False
    if text[at] == _HAN_FIRST_LEAD and text[at + 1] >= _HEXAGRAMS:
        return False
    if text[at + 1] & 0xC0 != 0x80 or text[at + 2] & 0xC0 != 0x80:
        return False
    return at + 3 == stop or text[at + 3] < 0x80 or _HAN_FIRST_LEAD <= text[at + 3] <= _HAN_LAST_LEAD


@kernel
def _fill_word(text, at, stop, tables, hashes, filled):
    """The next word, whatever it is: (position after it, filled). Its hash is that of its folded UTF-8."""
    start, end, _, _, _ = next_word(text, at, stop, tables)
    if start == end:
        return stop, filled
    hashed, eight, bits = HASH_BASIS, np.uint64(0), np.uint64(0)
    at = start
    while at < end:
        code_point, entry, at = read_character(text, at, end, tables)
        if tables.classes[entry] & JOINER:
            continue
        code_point = (
            np.int64(APOSTROPHE) if code_point == CURLY_APOSTROPHE else code_point + tables.lower[entry]
        )
        encoded, size = encode_bits(code_point)
        for _ in range(size):
            eight |= (encoded & np.uint64(0xFF)) << bits
            encoded >>= np.uint64(8)
            bits += np.uint64(8)
            if bits == 64:
                hashed = (hashed ^ eight) * HASH_FACTOR
                eight, bits = np.uint64(0), np.uint64(0)
    if bits:
        hashed = (hashed ^ eight) * HASH_FACTOR
    hashes[filled] = mix_bits(hashed)
    return end, filled + 1


@kernel
def encode_bits(code_point):
    """UTF-8 of a code point, its first byte lowest, and how many bytes it has."""
    c = np.uint64(code_point)
    six, low = np.uint64(6), np.uint64(0x3F)
    if code_point < 0x80:
        return c, 1
    if code_point < 0x800:
        return np.uint64(0x80C0) | c >> six | (c & low) << np.uint64(8), 2
    if code_point < 0x10000:
        middle = (c >> six & low) << np.uint64(8)
        return np.uint64(0x8080E0) | c >> np.uint64(12) | middle | (c & low) << np.uint64(16), 3
    second, third = (c >> np.uint64(12) & low) << np.uint64(8), (c >> six & low) << np.uint64(16)
    return np.uint64(0x808080F0) | c >> np.uint64(18) | second | third | (c & low) << np.uint64(24), 4
