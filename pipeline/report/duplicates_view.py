"""The report page's section on duplicates: the S-curve with what was measured on it, recall beside theory by
similarity, and the largest clusters. Figures in, strings for the template out; nothing here escapes text.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any

from pipeline.config import Recipe
from pipeline.dedup.curve import curve

_LANGUAGES = 5  # with the most planted copies; the others are drawn and listed as one
_OTHERS = "others"
# The drawing, in its own units: similarity runs to the right from 0.5 to 1, chance upwards from 0 to 1.
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 630, 12, 252
_LEAST_RADIUS, _MOST_RADIUS = 3.0, 8.0

Bands = Mapping[str, Mapping[str, Any]]  # by name of the band: planted, found, theory


def view_duplicates(recipe: Recipe, dedup: Mapping[str, Any]) -> dict[str, Any]:
    """What the template draws of MANIFEST's `dedup`."""
    recall = _few_languages(dedup["recall"])
    names = sorted({name for bands in recall.values() for name in bands}, reverse=True)
    return {
        "figures": {name: value for name, value in dedup.items() if isinstance(value, int)},
        "near": recipe.deduplicate.near,
        "threshold": recipe.deduplicate.threshold,
        "verify": recipe.deduplicate.verify,
        "languages": list(recall),
        "bands": [_line(name, recall) for name in names],
        "points": [point for number, bands in enumerate(recall.values()) for point in _points(number, bands)],
        **_curves(recipe),
        "precision": dedup["precision"],
        "sample": dedup["precision_sample"],
        "largest": dedup["largest"],
    }


def _few_languages(recall: Mapping[str, Bands]) -> dict[str, Bands]:
    """Languages by their number of planted copies, most first; those behind the first few as one."""
    planted = {language: sum(b["planted"] for b in bands.values()) for language, bands in recall.items()}
    order = sorted(planted, key=lambda language: (-planted[language], language))
    few = {language or "unknown": recall[language] for language in order[:_LANGUAGES]}
    if rest := order[_LANGUAGES:]:
        few[_OTHERS] = _together(recall[language] for language in rest)
    return few


def _together(of_languages: Iterable[Bands]) -> dict[str, dict[str, Any]]:
    """The bands of several languages as one."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for bands in of_languages:
        for name, band in bands.items():
            expected = band["planted"] * band["theory"]
            counts[name].update(planted=band["planted"], found=band["found"], expected=expected)
    return {
        name: {"planted": c["planted"], "found": c["found"], "theory": c["expected"] / c["planted"]}
        for name, c in counts.items()
    }


def _line(name: str, recall: Mapping[str, Bands]) -> dict[str, Any]:
    """One band of the table: all languages, what theory says, and every language alone."""
    band = _together({name: bands[name]} for bands in recall.values() if name in bands)[name]
    cells = [
        f"{bands[name]['found']:,} of {bands[name]['planted']:,}" if name in bands else ""
        for bands in recall.values()
    ]
    return {
        "name": name.replace("-", " to "),
        "planted": band["planted"],
        "found": band["found"],
        "recall": f"{band['found'] / band['planted']:.1%}",
        "theory": f"{band['theory']:.1%}",
        "cells": cells,
    }


def _curves(recipe: Recipe) -> dict[str, Any]:
    """Points of the two lines, and where the axes are marked."""
    drawn = list(curve(recipe, step=1))
    return {
        "meet": " ".join(_place(similarity, meets) for similarity, meets, _ in drawn),
        "found": " ".join(_place(similarity, found) for similarity, _, found in drawn),
        "across": [(f"{_x(tenths / 10):.1f}", f"{tenths / 10:.1f}") for tenths in range(5, 11)],
        "up": [(f"{_y(quarters / 4):.1f}", f"{quarters / 4:.0%}") for quarters in range(5)],
        "frame": {"left": _LEFT, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM},
    }


def _points(number: int, bands: Bands) -> list[dict[str, Any]]:
    """What was measured of one language, at the middle of each band of 0.5 and more; larger for more copies,
    and the languages beside each other.
    """
    points = []
    for name, band in bands.items():
        low = float(name[:4])
        if low >= 0.5:
            middle = min(low + 0.025, 1.0) + (number - _LANGUAGES / 2) * 0.003
            radius = min(_MOST_RADIUS, max(_LEAST_RADIUS, sqrt(band["planted"])))
            points.append(
                {
                    "x": f"{min(_x(middle), _RIGHT):.1f}",
                    "y": f"{_y(band['found'] / band['planted']):.1f}",
                    "radius": f"{radius:.1f}",
                    "language": number,
                }
            )
    return points


def _place(similarity: float, chance: float) -> str:
    return f"{_x(similarity):.1f},{_y(chance):.1f}"


def _x(similarity: float) -> float:
    return _LEFT + (similarity - 0.5) / 0.5 * (_RIGHT - _LEFT)


def _y(chance: float) -> float:
    return _BOTTOM - chance * (_BOTTOM - _TOP)
