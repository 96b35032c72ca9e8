"""The S-curve: the chance that two documents of some similarity are found, in theory.

With b bands of r rows, two documents whose shingle sets have the Jaccard similarity s share a band with the
chance 1 - (1 - s^r)^b (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4). If they are then
compared by their signatures, enough of the b * r values have to agree as well.
"""

import math
from collections.abc import Iterator

import numpy as np

from pipeline.config import Recipe


def meeting_chance(similarity: float, *, bands: int, rows: int) -> float:
    """That at least one band is equal."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def found_chance(similarity: float, *, bands: int, rows: int, threshold: float) -> float:
    """That at least one band is equal and at least the share `threshold` of all values agrees, exactly: the
    chance that enough agree, less the chance that they do with no band equal.
    """
    values = np.arange(rows + 1)
    one_band = (
        np.array([math.comb(rows, k) for k in values])
        * similarity**values
        * (1.0 - similarity) ** (rows - values)
    )
    unequal = one_band.copy()
    unequal[rows] = 0.0
    need = math.ceil(threshold * bands * rows - 1e-9)
    return float(_repeated(one_band, bands)[need:].sum() - _repeated(unequal, bands)[need:].sum())


def _repeated(distribution: np.ndarray, times: int) -> np.ndarray:
    """The distribution of a sum of so many."""
    total = np.ones(1)
    for _ in range(times):
        total = np.convolve(total, distribution)
    return total


def chance_of(recipe: Recipe, similarity: float) -> float:
    """That the recipe's bands and verification find two documents of a similarity. A comparison of the texts
    themselves has no chance in it: beyond the threshold the bands decide.
    """
    minhash, choice = recipe.minhash, recipe.deduplicate
    if choice.verify == "signature":
        return found_chance(similarity, bands=minhash.bands, rows=minhash.rows, threshold=choice.threshold)
    met = meeting_chance(similarity, bands=minhash.bands, rows=minhash.rows)
    return met if choice.verify != "jaccard" or similarity >= choice.threshold else 0.0


def curve(recipe: Recipe, *, first: float = 0.5, step: float = 0.05) -> Iterator[tuple[float, float, float]]:
    """(similarity, chance to meet, chance to be found) from `first` to 1."""
    minhash = recipe.minhash
    for number in range(round((1.0 - first) / step) + 1):
        similarity = first + step * number
        yield (
            similarity,
            meeting_chance(similarity, bands=minhash.bands, rows=minhash.rows),
            chance_of(recipe, similarity),
        )
