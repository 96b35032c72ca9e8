"""GPT-3's Pareto rule: kept with probability (2 - score)^-a, by the id alone."""

from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import Thresholds
from pipeline.decide.score_sampling import fail_sampling, keep_limits
from pipeline.decide.thresholds import RULE_NAMES
from pipeline.rules import PARETO_RULE
from pipeline.schema import ID, SCORE_STEPS

ROWS = 40_000


def batches(scores: list[int], *, judged: bool = True) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    ids = [number.to_bytes(16, "big") for number in range(len(scores))]
    measures = {
        "language": ["en"] * len(scores),
        "quality_score": pa.array(scores, pa.uint32()),
        "quality_steps": pa.array([SCORE_STEPS if judged else 0] * len(scores), pa.uint32()),
    }
    return pa.record_batch({"id": pa.array(ids, ID)}), pa.record_batch(measures)


def kept(scores: list[int], exponent: int, *, seed: int = 0, judged: bool = True) -> np.ndarray:
    documents, measures = batches(scores, judged=judged)
    table = {"web": {"en": Thresholds(quality_score_pareto=exponent)}}
    failing = np.zeros((len(scores), len(RULE_NAMES)), bool)
    fail_sampling(documents, measures, "web", table, seed, failing)
    assert not np.delete(failing, RULE_NAMES.index(PARETO_RULE), axis=1).any()
    return ~failing[:, RULE_NAMES.index(PARETO_RULE)]


@pytest.mark.parametrize("score", [0, 2_500, 5_000, 9_000, 10_000])
@pytest.mark.parametrize("exponent", [1, 9])
def test_shares(score: int, exponent: int) -> None:
    wanted = float(Fraction(SCORE_STEPS, 2 * SCORE_STEPS - score) ** exponent)
    deviation = 4 * (wanted * (1 - wanted) / ROWS) ** 0.5
    assert abs(kept([score] * ROWS, exponent).mean() - wanted) <= deviation


def test_numpy_draws_the_same_shares() -> None:
    """GPT-3's words: np.random.pareto(9) > 1 - score."""
    drawn = np.random.default_rng(1).pareto(9, ROWS)
    for score in (0.0, 0.5, 0.9):
        exact = int(keep_limits(9)[int(score * SCORE_STEPS)]) / 2**63
        assert abs((drawn > 1 - score).mean() - exact) < 0.01


def test_limits_are_exact() -> None:
    limits = keep_limits(9)
    assert limits[SCORE_STEPS] == 1 << 63 and limits[0] == (1 << 63) // 512
    assert (np.diff(limits.astype(object)) > 0).all()


def test_a_better_score_or_a_smaller_exponent_loses_nothing() -> None:
    low, high, mild = (kept([score] * ROWS, a) for score, a in ((3_000, 9), (6_000, 9), (3_000, 4)))
    assert not (low & ~high).any() and not (low & ~mild).any()
    assert (kept([3_000] * ROWS, 9, seed=1) != low).any()


def test_what_no_model_judges_is_not_drawn_for() -> None:
    assert kept([0] * 1_000, 9, judged=False).all()
