"""Which classifiers and word lists a recipe scores texts with, and those that come with the package."""

from dataclasses import dataclass

from pipeline.counts import WORD_CATEGORIES

PACKAGED = "packaged"  # instead of a folder of word lists


@dataclass(frozen=True, slots=True)
class ScoreModel:
    """A classifier of texts."""

    model: str  # a packaged name (annotate/score_models.py), or a fastText file
    labels: tuple[str, ...] = ("positive",)  # whose probabilities, added up, are the score


def packaged_models(kind: str) -> dict[str, ScoreModel]:
    """The default classifiers of a kind (quality, toxicity) by language."""
    return {code: ScoreModel(f"{kind}-{code}") for code in ("en", "zh")}


def packaged_lists() -> dict[str, str]:
    """The default word lists: all categories but the one for lists that do not tell them apart."""
    return {category: PACKAGED for category in WORD_CATEGORIES if category != "offensive"}
