"""How many copies of each document the corpus holds: the mixture of the recipe made exact.

What is repeated r times (a source, or its documents in a language: shares.py) has floor(r) copies of every
document and one more with probability frac(r); if the recipe rehydrates, r is multiplied by a whole factor of
the document's cluster size. The draw is a keyed hash of the document's id, so the same documents are drawn on
every run, and raising r or a factor only ever adds copies: nothing that was trained on leaves when a source
is weighted up. Repeats are held in integer micro-units, so that no float decides.
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa

from pipeline.config import MAX_COPIES
from pipeline.kernels.keyed import keyed_u64

MICRO = 1_000_000


def repeats_to_micro(repeats: float | str | Decimal) -> int:
    """Repeats in micro-units, rounded half to even ("1.5" -> 1_500_000); ValueError outside 0..65535."""
    micro = round(Fraction(repeats) * MICRO)
    if not 0 <= micro <= MAX_COPIES * MICRO:
        raise ValueError(f"repeats must lie between 0 and {MAX_COPIES}, not {repeats}")
    return micro


def rehydration(sizes: np.ndarray, steps: Sequence[Sequence[int]]) -> np.ndarray:
    """int64 factor of the repeats of documents whose clusters have so many members: that of the last of
    `steps`, [size, factor] with rising sizes, that the size reaches; 1 below all of them (FineWeb2's
    re-hydration, Penedo et al. 2025).
    """
    least = np.array([0, *(step[0] for step in steps)], np.int64)
    factors = np.array([1, *(step[1] for step in steps)], np.int64)
    return factors[np.searchsorted(least, sizes, side="right") - 1]


def copies(ids: pa.FixedSizeBinaryArray, r_micro: np.ndarray, *, seed: int) -> np.ndarray:
    """uint16 copies per document: floor(r) + [u(id) < frac(r)], u an integer in [0, 10^6) that ignores r.

    `r_micro`: int64, one per document, in micro-units. ValueError for repeats outside 0..65535.
    """
    micro = np.asarray(r_micro, dtype=np.int64)
    if micro.shape != (len(ids),):
        raise ValueError(f"{len(ids)} ids but repeats of shape {micro.shape}")
    if micro.size and (micro.min() < 0 or micro.max() > MAX_COPIES * MICRO):
        found = f"{micro.min()} to {micro.max()} micro-units"
        raise ValueError(f"repeats must lie between 0 and {MAX_COPIES}, not {found}")
    # 2^64 is no multiple of 10^6; the remainders that occur once more do so with a surplus of 10^6 / 2^64.
    drawn = (keyed_u64(ids, seed=seed, tag="mixture") % np.uint64(MICRO)).astype(np.int64)
    return (micro // MICRO + (drawn < micro % MICRO)).astype(np.uint16)
