"""MinHash signatures (Broder 1997) of documents, and the band keys under which near-duplicates meet.

Permutation i maps the 32-bit hash x of a shingle (pipeline/kernels/shingles.py) to a_i * x + b_i mod 2^32
with an odd a_i, a true permutation of the 32-bit numbers, and the signature keeps the least value. Since x is
well mixed already, this plain family does as well as random permutations: over 1,500 pairs of sets of 3 to
400 (400 pairs of 3,000), its estimates' mean and variance were those of ideal ones within chance, as were
those of 64-bit multiply-shift, at a third of its cost. (datatrove's `(a * x + b) mod (2^61 - 1)` wraps before
the modulus.)

The share of equal values in two signatures estimates the Jaccard similarity J of the two sets of shingles,
with a standard deviation of sqrt(J * (1 - J) / permutations).

A document with fewer units than a shingle has none and no signature; it is marked `short` if it has any unit.
(Peers give it none either and never deduplicate it; here its exact digest does.)

Memory: the signatures, 4 bytes per value.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only
from pipeline.kernels.jit import kernel
from pipeline.kernels.shingles import (
    BLOCK,
    Shingling,
    bounds,
    carry_over,
    fill_units,
    open_units,
    roll_shingles,
)
from pipeline.kernels.unicode_classes import load_tables
from pipeline.kernels.words import mix_bits

EMPTY = np.uint32(0xFFFFFFFF)
_LANES = 32  # blocks are filled up to a multiple of this, so that no loop ends in single steps
_MASK_64 = (1 << 64) - 1
_MASK_32 = (1 << 32) - 1
_GAMMA = 0x9E3779B97F4A7C15  # splitmix64's increment
# The first 64 bits of the fraction of pi, odd and chosen by nobody.
_BAND_FACTOR = np.uint64(0x243F6A8885A308D3)


class Signatures(NamedTuple):
    """`signatures`: fixed_size_list<uint32>[permutations], null without a whole shingle. `short`: has units,
    but fewer than a shingle. `capped`: only the beginning was signed. Both bool without nulls.
    """

    signatures: pa.FixedSizeListArray
    short: pa.BooleanArray
    capped: pa.BooleanArray


def minhash_signatures(units: pa.Array, shingling: Shingling, *, permutations: int, seed: int) -> Signatures:
    """MinHash signatures of documents: string or large_string, in the unit `tokens` list<int32> of token ids.

    A null has no signature. ValueError for numbers below 1.
    """
    if permutations < 1:
        raise ValueError(f"permutations ({permutations}) must be at least 1")
    opened = open_units(units, shingling)
    factors, terms = permutation_constants(permutations, seed)
    minima = np.full((len(units), permutations), EMPTY, np.uint32)
    counts = np.zeros(len(units), np.int64)
    _sign_documents(
        opened.kind,
        opened.starts,
        opened.stops,
        opened.values,
        load_tables(),
        np.empty(BLOCK + shingling.width - 1, np.uint64),
        np.empty(BLOCK, np.uint32),
        np.int64(shingling.width),
        factors,
        terms,
        minima,
        counts,
    )
    return as_signatures(minima, counts, shingling.width, opened.capped)


def as_signatures(
    minima: NDArray[np.uint32], counts: NDArray[np.int64], width: int, capped: NDArray[np.bool_]
) -> Signatures:
    """Minima uint32 [documents, permutations] and units of every document as columns."""
    flat, permutations = pa.array(minima.reshape(-1)), minima.shape[1]
    signatures = pa.FixedSizeListArray.from_arrays(flat, permutations, mask=pa.array(counts < width))
    return Signatures(signatures, pa.array((counts > 0) & (counts < width)), pa.array(capped))


def permutation_constants(permutations: int, seed: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Odd factors a and terms b, uint32 [permutations]: lower and upper halves of splitmix64 from `seed`."""
    drawn = [_splitmix64(seed + step * _GAMMA) for step in range(1, permutations + 1)]
    factors = np.array([value & _MASK_32 | 1 for value in drawn], np.uint32)
    return read_only(factors), read_only(np.array([value >> 32 for value in drawn], np.uint32))


def band_keys(signatures: pa.FixedSizeListArray, *, bands: int, rows: int) -> NDArray[np.uint64]:
    """uint64 [documents, bands]: a hash of the band's number and its `rows` consecutive signature values.

    ValueError if bands * rows values are not there, or if a signature is null (a document without a shingle
    has no key).
    """
    permutations = signatures.type.list_size
    if bands < 1 or rows < 1 or bands * rows > permutations:
        raise ValueError(f"{bands} bands of {rows} rows need as many values; a signature has {permutations}")
    if signatures.null_count:
        raise ValueError(
            f"{signatures.null_count} signatures are null: leave out documents without a shingle first"
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
def _sign_documents(
    kind, starts, stops, values, tables, hashes, block, width, factors, terms, minima, counts
):
    for document in range(counts.size):
        at, stop = bounds(kind, values, starts[document], stops[document], tables)
        kept = np.int64(0)
        while at < stop:
            filled, at = fill_units(kind, values, at, stop, tables, hashes, kept)
            if filled == kept:
                break
            counts[document] += filled - kept
            lower_minima(block, roll_shingles(hashes, filled, width, block), factors, terms, minima[document])
            kept = carry_over(hashes, filled, width)


@kernel
def lower_minima(block, filled, factors, terms, minima):
    """Take `block[:filled]`, shingle hashes (uint32), through every permutation."""
    if filled:
        padded = (filled + _LANES - 1) // _LANES * _LANES
        block[filled:padded] = block[0]  # a value once more does not change a minimum
        _lower_minima(block[:padded], factors, terms, minima)


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
                key = mix_bits(key ^ np.uint64(minima[document, row])) * _BAND_FACTOR
            keys[document, band] = mix_bits(key)
