"""The S-curve: the chance that two documents of some similarity are found, in theory.

With b bands of r rows, two documents whose shingle sets have the Jaccard similarity s share a band with the
chance 1 - (1 - s^r)^b (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4). If they are then
compared by their signatures, enough of the b * r values have to agree as well.
"""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from pipeline.config import Recipe


def meeting_chance(similarity: float, *, bands: int, rows: int) -> float:
    """That at least one band is equal."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def found_chance(similarity: float, *, bands: int, rows: int, threshold: float) -> float:
    """That at least one band is equal and at least the share `threshold` of all values agrees, exactly: the
    chance that enough agree, less the chance that they do with no band equal.
    """
    agree = np.arange(rows + 1)
    ways = np.array([math.comb(rows, k) for k in agree.tolist()], np.float64)
    of_one_band = ways * similarity**agree * (1.0 - similarity) ** (rows - agree)
    unless_equal = np.append(of_one_band[:-1], 0.0)
    need = math.ceil(Fraction(str(threshold)) * bands * rows)
    with_none_equal = _repeated(unless_equal, bands)[need:].sum()
    return max(0.0, float(_repeated(of_one_band, bands)[need:].sum() - with_none_equal))


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


def curve(recipe: Recipe, *, step: int = 5) -> Iterator[tuple[float, float, float]]:
    """(similarity, chance to meet, chance to be found) from 0.5 to 1 in steps of so many hundredths."""
    minhash = recipe.minhash
    for hundredths in range(50, 101, step):
        similarity = hundredths / 100
        met = meeting_chance(similarity, bands=minhash.bands, rows=minhash.rows)
        yield similarity, met, chance_of(recipe, similarity)


def steepest(*, bands: int, rows: int) -> float:
    """(1/b)^(1/r), about where the chance to meet grows fastest; it is 1 - 1/e there, or 63 %."""
    return (1 / bands) ** (1 / rows)
