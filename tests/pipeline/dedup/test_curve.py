"""Theory: against counting every case, and what each way of comparing makes of it."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from pipeline.config import PRESETS
from pipeline.dedup.curve import chance_of, curve, found_chance, meeting_chance, steepest
from pipeline.recipe_file import load_recipe


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7, 1.0])
def test_chances_are_those_of_all_cases(similarity: float, threshold: float) -> None:
    bands, rows = 3, 3
    met = found = 0.0
    for case in product((0, 1), repeat=bands * rows):
        agree = np.array(case).reshape(bands, rows)
        chance = similarity ** agree.sum() * (1 - similarity) ** (agree.size - agree.sum())
        meets = agree.all(axis=1).any()
        met += chance * meets
        found += chance * (meets and agree.sum() >= threshold * agree.size - 1e-9)
    assert meeting_chance(similarity, bands=bands, rows=rows) == pytest.approx(met, abs=1e-12)
    chance = found_chance(similarity, bands=bands, rows=rows, threshold=threshold)
    assert chance == pytest.approx(found, abs=1e-12)


def test_a_threshold_counts_as_it_is_written() -> None:
    """0.7 of ten values are seven, although 0.7 * 10 is a little more in binary."""
    assert found_chance(0.5, bands=10, rows=1, threshold=0.7) == pytest.approx(176 / 1024)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_rise_from_nothing_to_certainty(name: str) -> None:
    recipe = load_recipe("web-en-zh", [f"minhash.preset={name}"])
    drawn = np.array(list(curve(recipe)))
    assert drawn[0, 0] == 0.5 and drawn[-1].tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert (np.diff(drawn, axis=0) >= -1e-9).all()
    assert (drawn[:, 1] >= drawn[:, 2] - 1e-9).all()  # who is found has met
    bands, rows = recipe.minhash.bands, recipe.minhash.rows
    middle = meeting_chance(steepest(bands=bands, rows=rows), bands=bands, rows=rows)
    assert middle == pytest.approx(1 - 1 / np.e, abs=0.03)


def test_comparing_texts_leaves_the_bands_alone_beyond_the_threshold() -> None:
    recipe = load_recipe("web-en-zh")
    met = meeting_chance(0.75, bands=14, rows=8)
    by = {
        name: replace(recipe, deduplicate=replace(recipe.deduplicate, verify=name))
        for name in ("none", "signature", "jaccard", "containment")
    }
    assert chance_of(by["none"], 0.75) == chance_of(by["jaccard"], 0.75) == met
    assert chance_of(by["containment"], 0.75) == met
    assert chance_of(by["signature"], 0.75) < met
    assert chance_of(by["jaccard"], 0.69) == 0 < chance_of(by["none"], 0.69)
    assert chance_of(by["jaccard"], 0.7) > 0
