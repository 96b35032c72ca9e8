"""Signatures that equal those of the datasketch library (2.x, Eric Zhu) bit for bit, for those who have such.

Equal to `MinHash(num_perm=permutations, seed=seed)` after an `update` with the UTF-8 of every shingle: SHA-1
of the shingle, its first four bytes as a little-endian number, MurmurHash3's 32-bit finaliser, then a * x + b
mod 2^32 with the a and b that NumPy's RandomState(seed) draws. (Before 2.0, datasketch had another family.)

The text of a shingle: in `words`, its words in lower case as pipeline/kernels/words.py reads them (a curly
apostrophe as ', without joiners), with one space between two; in `characters`, its code points as
pipeline/kernels/shingles.py reads them.

SHA-1 (FIPS 180-4) runs over _LANES shingles side by side, so that their words fill vector registers. Cost: 90
to 110 ns per shingle, a tenth of datasketch with hashlib.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only
from pipeline.kernels.fold import encode
from pipeline.kernels.jit import kernel, load_eight
from pipeline.kernels.minhash import EMPTY, Signatures, as_signatures, lower_minima
from pipeline.kernels.shingles import CHARACTERS, TOKENS, WORDS, Shingling, bounds, open_units, skip_spaces
from pipeline.kernels.unicode_classes import JOINER, SPACE, load_tables
from pipeline.kernels.words import APOSTROPHE, CURLY_APOSTROPHE, next_word, read_character

_LANES = 64
_CHUNK = 64  # bytes that SHA-1 takes at once
_ODD, _PAIRS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_START = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0], np.uint32)
_K = np.array([0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6], np.uint32)


def datasketch_signatures(
    units: pa.Array, shingling: Shingling, *, permutations: int, seed: int
) -> Signatures:
    """datasketch's signatures of texts (string, large_string); ValueError for token ids."""
    opened = open_units(units, shingling)
    if opened.kind == TOKENS:
        raise ValueError("datasketch signatures are of words or characters, not of token ids")
    factors, terms = permutation_constants(permutations, seed)
    longest = int((opened.stops - opened.starts).max(initial=0))
    minima = np.full((len(units), permutations), EMPTY, np.uint32)
    counts = np.zeros(len(units), np.int64)
    _sign_documents(
        opened.kind,
        opened.starts,
        opened.stops,
        opened.values,
        load_tables(),
        np.int64(shingling.width),
        factors,
        terms,
        np.empty(2 * longest + 16, np.uint8),  # lower case is at most half longer, and a space follows a word
        np.empty((longest + 2, 2), np.int32),
        np.zeros((80, _LANES), np.uint32),
        np.empty((10, _LANES), np.uint32),
        np.empty(_LANES, np.uint32),
        read_only(_START),
        read_only(_K),
        minima,
        counts,
    )
    return as_signatures(minima, counts, shingling.width, opened.capped)


def permutation_constants(permutations: int, seed: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """datasketch's factors and terms (scheme affine32), uint32 [permutations] each."""
    drawn = np.random.RandomState(seed)
    factors = drawn.randint(0, 1 << 31, permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    terms = drawn.randint(0, 1 << 32, permutations, dtype=np.uint32)
    return read_only(factors), read_only(terms)


@kernel
def _sign_documents(
    kind,
    starts,
    stops,
    values,
    tables,
    width,
    factors,
    terms,
    folded,
    places,
    words,
    state,
    block,
    initial,
    constants,
    minima,
    counts,
):
    for document in range(counts.size):
        at, stop = bounds(kind, values, starts[document], stops[document], tables)
        count = _fold_units(kind, values, at, stop, tables, folded, places)
        counts[document] = count
        for first in range(0, count - width + 1, _LANES):
            lanes = min(_LANES, count - width + 1 - first)
            _hash_shingles(folded, places, first, lanes, width, words, state, initial, constants, block)
            for lane in range(lanes):
                block[lane] = _finish(block[lane])
            lower_minima(block, lanes, factors, terms, minima[document])


@kernel
def _fold_units(kind, text, at, stop, tables, folded, places):
    """Writes the units of a document one behind the other, words with a space between; [start, end) of each
    into `places`; returns how many.
    """
    out = count = entry = np.int64(0)
    while at < stop:
        if kind == WORDS:
            start, end, _, _, _ = next_word(text, at, stop, tables)
            if start == end:
                break
        else:
            start = at
            _, entry, end = read_character(text, at, stop, tables)
            if tables.classes[entry] & SPACE:
                end = skip_spaces(text, end, stop, tables)
        if kind == WORDS and count:
            folded[out] = 0x20
            out += 1
        places[count, 0] = out
        at = start
        if kind == CHARACTERS and tables.classes[entry] & SPACE:
            folded[out] = 0x20
            out += 1
            at = end
        while at < end:
            code_point, entry, at = read_character(text, at, end, tables)
            if kind == WORDS and tables.classes[entry] & JOINER:
                continue
            if kind == WORDS and code_point == CURLY_APOSTROPHE:
                code_point = np.int64(APOSTROPHE)
            else:
                code_point += tables.lower[entry]
            out = encode(code_point, folded, out)
        places[count, 1] = out
        count += 1
    return count


@kernel
def _hash_shingles(folded, places, first, lanes, width, words, state, initial, constants, found):
    """First word of SHA-1 of `lanes` shingles. A lane whose message is over before the longest goes on with
    what it has, and nobody looks at it again.
    """
    most = np.int64(0)
    for lane in range(lanes):
        size = places[first + lane + width - 1, 1] - places[first + lane, 0]
        most = max(most, (np.int64(size) + 9 + _CHUNK - 1) // _CHUNK)
    for register in range(5):
        for lane in range(_LANES):
            state[register, lane] = initial[register]
    for chunk in range(most):
        for lane in range(lanes):
            start = np.int64(places[first + lane, 0])
            size = np.int64(places[first + lane + width - 1, 1]) - start
            _load_chunk(folded, start, size, chunk, words, lane)
        _compress(words, state, constants)
        for lane in range(lanes):
            size = np.int64(places[first + lane + width - 1, 1] - places[first + lane, 0])
            if (size + 9 + _CHUNK - 1) // _CHUNK == chunk + 1:
                found[lane] = state[0, lane]  # the digest begins with the first register


@kernel
def _load_chunk(folded, start, size, chunk, words, lane):
    """Sixteen big-endian words of a padded message: its bytes, 0x80, zeros, and its length in bits."""
    for pair in range(8):
        left = size - chunk * _CHUNK - 8 * pair  # bytes of the message from here on
        eight = np.uint64(0)
        if left > 0:
            eight = load_eight(folded, start + size - left)  # pyright: ignore[reportCallIssue]
        if 0 <= left < 8:
            end = np.uint64(1) << np.uint64(8 * left)
            eight = (eight & (end - np.uint64(1))) | end << np.uint64(7)
        eight = (eight & _ODD) << np.uint64(8) | (eight >> np.uint64(8)) & _ODD
        eight = (eight & _PAIRS) << np.uint64(16) | (eight >> np.uint64(16)) & _PAIRS
        words[2 * pair, lane] = np.uint32(eight)
        words[2 * pair + 1, lane] = np.uint32(eight >> np.uint64(32))
    if size + 9 <= (chunk + 1) * _CHUNK:
        words[14, lane] = np.uint32(size >> 29)
        words[15, lane] = np.uint32(size << 3)


@kernel
def _compress(words, state, constants):
    """One chunk of SHA-1 in all lanes. `state` [10, lanes]: the registers in rows 0 to 4, whose sum with what
    the chunk makes of them (in rows 5 to 9) they become.
    """
    for step in range(16, 80):
        _schedule(words[step - 3], words[step - 8], words[step - 14], words[step - 16], words[step])
    for register in range(5):
        for lane in range(_LANES):
            state[5 + register, lane] = state[register, lane]
    for step in range(80):
        # Instead of five registers that move on by one, five names that do: after 80 steps all are home
        # again.
        turn = 80 - step
        a, b, c = state[5 + turn % 5], state[5 + (turn + 1) % 5], state[5 + (turn + 2) % 5]
        d, e = state[5 + (turn + 3) % 5], state[5 + (turn + 4) % 5]
        if step < 20:
            _choose(a, b, c, d, e, words[step], constants[0])
        elif 40 <= step < 60:
            _majority(a, b, c, d, e, words[step], constants[2])
        else:
            _parity(a, b, c, d, e, words[step], constants[step // 20])
    for register in range(5):
        for lane in range(_LANES):
            state[register, lane] += state[5 + register, lane]


@kernel
def _schedule(one, two, three, four, word):
    for lane in range(_LANES):
        mixed = one[lane] ^ two[lane] ^ three[lane] ^ four[lane]
        word[lane] = np.uint32(mixed << np.uint32(1) | mixed >> np.uint32(31))


@kernel
def _choose(a, b, c, d, e, word, constant):
    for lane in range(_LANES):
        mixed = np.uint32((d[lane] ^ (b[lane] & (c[lane] ^ d[lane]))) + constant + word[lane])
        e[lane] = np.uint32(_turned(a[lane], np.uint32(5)) + mixed + e[lane])
        b[lane] = _turned(b[lane], np.uint32(30))


@kernel
def _majority(a, b, c, d, e, word, constant):
    for lane in range(_LANES):
        both = (b[lane] & c[lane]) | (d[lane] & (b[lane] | c[lane]))
        mixed = np.uint32(both + constant + word[lane])
        e[lane] = np.uint32(_turned(a[lane], np.uint32(5)) + mixed + e[lane])
        b[lane] = _turned(b[lane], np.uint32(30))


@kernel
def _parity(a, b, c, d, e, word, constant):
    for lane in range(_LANES):
        mixed = np.uint32((b[lane] ^ c[lane] ^ d[lane]) + constant + word[lane])
        e[lane] = np.uint32(_turned(a[lane], np.uint32(5)) + mixed + e[lane])
        b[lane] = _turned(b[lane], np.uint32(30))


@kernel
def _turned(value, bits):
    """`value` rotated left, in 32 bits (Numba computes in 64)."""
    return np.uint32(value << bits | value >> (np.uint32(32) - bits))


@kernel
def _finish(register):
    """datasketch's number of a shingle: the digest's first four bytes, little-endian, then fmix32."""
    value = np.uint32(
        register >> np.uint32(24)
        | (register >> np.uint32(8)) & np.uint32(0xFF00)
        | (register << np.uint32(8)) & np.uint32(0xFF0000)
        | register << np.uint32(24)
    )
    value = np.uint32((value ^ value >> np.uint32(16)) * np.uint32(0x85EBCA6B))
    value = np.uint32((value ^ value >> np.uint32(13)) * np.uint32(0xC2B2AE35))
    return value ^ value >> np.uint32(16)
