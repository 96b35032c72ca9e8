"""Selection by chance in proportion to quality: GPT-3's Pareto rule (Brown et al. 2020, appendix A).

There, a document of score s is kept if a draw from numpy's Pareto distribution with shape a = 9 is above
1 - s, which has the probability (2 - s)^-a: 1 at a score of 1, 1/512 at 0. So nearly all that is good stays,
and a little of everything. Here the draw is a keyed hash of (seed, id): it does not change when a model or an
exponent does, so a document that a better score keeps at one exponent is kept at every smaller one.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import pyarrow as pa

from pipeline.config import Thresholds
from pipeline.decide.thresholds import RULE_NAMES, count_terms, thresholds_for
from pipeline.kernels.keyed import keyed_u64
from pipeline.rules import PARETO_RULE, RULES
from pipeline.schema import SCORE_STEPS

_BITS = 63


@lru_cache(maxsize=8)
def keep_limits(exponent: int) -> np.ndarray:
    """uint64 [SCORE_STEPS + 1]: below which draw of 63 bits a document of that score is kept, exactly."""
    numerator = SCORE_STEPS**exponent << _BITS
    limits = [numerator // (2 * SCORE_STEPS - score) ** exponent for score in range(SCORE_STEPS + 1)]
    return np.array(limits, np.uint64)


def fail_sampling(
    documents: pa.RecordBatch,
    measures: pa.RecordBatch,
    kind: str,
    table: Mapping[str, Mapping[str, Thresholds]],
    seed: int,
    failing: np.ndarray,
) -> None:
    """Writes into bool [rows, len(RULE_NAMES)] which documents of one kind are not drawn; those without a
    score are not drawn for.
    """
    exponents = {language: getattr(t, PARETO_RULE) for language, t in _by_language(table, kind).items()}
    if not any(exponents.values()):
        return
    rule = next(rule for rule in RULES if rule.key == PARETO_RULE)
    languages = np.asarray(measures["language"].to_pylist(), dtype=object)
    for language in sorted(set(languages)):
        exponent = getattr(thresholds_for(table, kind, language), PARETO_RULE)
        if exponent is None:
            continue
        rows = np.flatnonzero(languages == language)
        scores = count_terms(measures, rule, rule.measure, rows)
        judged = count_terms(measures, rule, str(rule.per), rows) > 0
        drawn = keyed_u64(documents["id"].take(pa.array(rows)), seed=seed, tag="quality") >> np.uint64(1)
        lost = drawn >= keep_limits(exponent)[scores]
        failing[rows, RULE_NAMES.index(PARETO_RULE)] = lost & judged


def _by_language(table: Mapping[str, Mapping[str, Thresholds]], kind: str) -> Mapping[str, Thresholds]:
    return table.get(kind, table.get("default", {}))
