"""MinHash signatures (Broder 1997) of documents, and the band keys under which near-duplicates meet.

A *shingle* is `shingle` consecutive words in lower case (words as in `pipeline/kernels/words.py`: European
text goes by words, Chinese by characters; case, punctuation and spacing do not matter). Its hash is a
polynomial in its words' hashes, rolled from word to word, then mixed, of which the upper 32 bits x are kept.
Permutation i maps x to a_i * x + b_i mod 2^32 with an odd a_i, a true permutation of the 32-bit numbers, and
the signature keeps the least value. Since x is well mixed already, this plain family does as well as random
permutations: over 1,500 pairs of sets of 3 to 400 (400 pairs of 3,000), its estimates' mean and variance were
those of ideal ones within chance, as were those of 64-bit multiply-shift, at a third of its cost.
(datatrove's `(a * x + b) mod (2^61 - 1)` wraps before the modulus.)

The share of equal values in two signatures estimates the Jaccard similarity J of the two sets of shingles,
with a standard deviation of sqrt(J * (1 - J) / permutations). With 32 bits, a document of n shingles and one
of m share n * m / 2^32 of them by chance: 0.0006 for two pages of 5 kB of Chinese.

A document with fewer words than `shingle` has one shingle, of all its words, and is marked `short`: it meets
only documents with the same words. One without words has no signature. Peers give both none, and never
deduplicate them.

Cost with 112 permutations: 12 ns per shingle and 35 ns to read a word; for a page of 5 kB 0.055 ms (English)
to 0.066 ms (Chinese). Memory: the signatures, 4 bytes per value.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only, text_buffers
from pipeline.kernels.jit import kernel
from pipeline.kernels.unicode_classes import load_tables
from pipeline.kernels.words import mix_bits, next_word

EMPTY = np.uint32(0xFFFFFFFF)
_BLOCK = 1024  # shingle hashes taken through all permutations at once: 4 kB of the first-level cache
_LANES = 32  # blocks are filled up to a multiple of this, so that no loop ends in single steps
_HALF = np.uint64(32)
_MASK_64 = (1 << 64) - 1
_MASK_32 = (1 << 32) - 1
_GAMMA = 0x9E3779B97F4A7C15  # splitmix64's increment
# The base of the polynomial over word hashes: the first 64 bits of pi's fraction, odd and chosen by nobody.
_BASE = np.uint64(0x243F6A8885A308D3)


class Signatures(NamedTuple):
    """`signatures`: fixed_size_list<uint32>[permutations], null without words. `short`: bool, no nulls."""

    signatures: pa.FixedSizeListArray
    short: pa.BooleanArray


def minhash_signatures(text: pa.Array, *, shingle: int, permutations: int, seed: int) -> Signatures:
    """MinHash signatures of a string or large_string array over shingles of so many words; null for null."""
    if shingle < 1 or permutations < 1:
        raise ValueError(f"shingle ({shingle}) and permutations ({permutations}) must be at least 1")
    buffers = text_buffers(text)
    factors, terms = permutation_constants(permutations, seed)
    minima = np.full((len(text), permutations), EMPTY, np.uint32)
    words = np.zeros(len(text), np.int64)
    window, block = np.empty(shingle, np.uint64), np.empty(_BLOCK, np.uint32)
    _sign_documents(
        buffers.offsets, buffers.bytes, load_tables(), factors, terms, window, block, minima, words
    )
    signatures = pa.FixedSizeListArray.from_arrays(
        pa.array(minima.reshape(-1)), permutations, mask=pa.array(words == 0)
    )
    return Signatures(signatures, pa.array((words > 0) & (words < shingle)))


def permutation_constants(permutations: int, seed: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Odd factors a and terms b, uint32 [permutations]: lower and upper halves of splitmix64 from `seed`."""
    drawn = [_splitmix64(seed + step * _GAMMA) for step in range(1, permutations + 1)]
    factors = np.array([value & _MASK_32 | 1 for value in drawn], np.uint32)
    return read_only(factors), read_only(np.array([value >> 32 for value in drawn], np.uint32))


def band_keys(signatures: pa.FixedSizeListArray, *, bands: int, rows: int) -> NDArray[np.uint64]:
    """uint64 [documents, bands]: a hash of the band's number and its `rows` consecutive signature values.

    ValueError if bands * rows values are not there, or if a signature is null (a document without words has
    no key).
    """
    permutations = signatures.type.list_size
    if bands < 1 or rows < 1 or bands * rows > permutations:
        raise ValueError(f"{bands} bands of {rows} rows need as many values; a signature has {permutations}")
    if signatures.null_count:
        raise ValueError(
            f"{signatures.null_count} signatures are null: leave out documents without words first"
        )
    minima = signatures.flatten().to_numpy().reshape(-1, permutations)
    keys = np.empty((len(signatures), bands), np.uint64)
    _hash_bands(read_only(minima), rows, keys)
    return keys


def _splitmix64(state: int) -> int:
    """One output of splitmix64 (Steele, Lea, Flood, OOPSLA 2014) for a state already advanced."""
    state &= _MASK_64
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK_64
    state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK_64
    return state ^ state >> 31


@kernel
def _sign_documents(offsets, text, tables, factors, terms, window, block, minima, words):
    shingle = window.size
    # The hash of a word that leaves the shingle was multiplied `shingle` times by the base.
    leaving = np.uint64(1)
    for _ in range(shingle):
        leaving *= _BASE
    for document in range(words.size):
        window[:] = np.uint64(0)
        rolled = np.uint64(0)
        count = filled = place = np.int64(0)
        at, stop = offsets[document], offsets[document + 1]
        while True:
            word, at, _, _, hashed = next_word(text, at, stop, tables)
            if word == at:
                break
            rolled = rolled * _BASE + hashed - window[place] * leaving
            window[place] = hashed
            place = place + 1 if place + 1 < shingle else np.int64(0)
            count += 1
            if count >= shingle:
                block[filled] = mix_bits(rolled) >> _HALF
                filled += 1
                if filled == block.size:
                    _lower_minima(block, factors, terms, minima[document])
                    filled = np.int64(0)
        if 0 < count < shingle:
            block[0] = mix_bits(rolled) >> _HALF
            filled = np.int64(1)
        if filled:
            padded = (filled + _LANES - 1) // _LANES * _LANES
            block[filled:padded] = block[0]  # a value once more does not change a minimum
            _lower_minima(block[:padded], factors, terms, minima[document])
        words[document] = count


@kernel
def _lower_minima(block, factors, terms, minima):
    """Take shingle hashes (uint32) through every permutation; the inner loop stays in vector registers."""
    for permutation in range(minima.size):
        factor, term = factors[permutation], terms[permutation]
        least = minima[permutation]
        for place in range(block.size):
            least = min(least, np.uint32(factor * block[place] + term))
        minima[permutation] = least


@kernel
def _hash_bands(minima, rows, keys):
    for document in range(keys.shape[0]):
        for band in range(keys.shape[1]):
            key = mix_bits(np.uint64(band + 1))
            for row in range(band * rows, (band + 1) * rows):
                key = mix_bits(key ^ np.uint64(minima[document, row])) * _BASE
            keys[document, band] = mix_bits(key)
