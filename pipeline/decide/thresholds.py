"""Rules on stored measures: each compares two stored integers with a threshold of the recipe, exactly.

A threshold is a decimal number in the recipe; it is taken at its written value (`Fraction(str(0.1))` is
1/10), so "0.30 of the lines" means the same on every machine.
"""

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from pipeline.config import Decontaminate, Thresholds, UsageError
from pipeline.rules import (
    LOG_STEPS,
    PARETO_RULE,
    PERPLEXITY_BUCKETS,
    RULES,
    Rule,
    groups_of,
    log_steps,
    terms_of,
)
from pipeline.schema import LM_STEPS

_NEVER = Thresholds()


# Not on counts of the text: where a document comes from (provenance.py), its language, and whether it holds
# questions of the recipe's evaluation sets.
LICENCE_RULE, LIST_RULE, LANGUAGE_RULE = "licences", "blocked", "languages"
OVERLAP_RULE = "test_overlap"
BUCKET_RULE = "buckets"  # on perplexity, by the cut-offs of its language (percentiles.py)
RULE_NAMES = (LICENCE_RULE, LIST_RULE, LANGUAGE_RULE)
RULE_NAMES += (*(rule.key for rule in RULES), BUCKET_RULE, OVERLAP_RULE)


def thresholds_for(table: Mapping[str, Mapping[str, Thresholds]], kind: str, language: str) -> Thresholds:
    """The thresholds of a kind and language; "default" stands for kinds and languages that are not named."""
    by_language = table.get(kind, table.get("default", {}))
    return by_language.get(language, by_language.get("default", _NEVER))


def failing_rules(
    measures: pa.RecordBatch,
    kind: str,
    table: Mapping[str, Mapping[str, Thresholds]],
    max_test_hits: int | None = None,
    edges: Mapping[str, tuple[int, int]] = MappingProxyType({}),
) -> np.ndarray:
    """bool [rows, len(RULE_NAMES)]: which rule each document of one kind fails; a share of nothing fails no
    maximum, measures say nothing of licence and lists, and without `max_test_hits` nothing fails
    OVERLAP_RULE. `edges`: where the buckets of a language end (percentiles.bucket_edges); a document without
    perplexity fails none of its rules. PARETO_RULE is left to score_sampling.py.
    """
    of_language = RULE_NAMES.index(LANGUAGE_RULE)
    languages = np.asarray(measures["language"].to_pylist(), dtype=object)
    failing = np.zeros((measures.num_rows, len(RULE_NAMES)), bool)
    for language in sorted(set(languages)):
        rows = np.flatnonzero(languages == language)
        thresholds = thresholds_for(table, kind, language)
        if thresholds.languages is not None and language not in thresholds.languages:
            failing[rows, of_language] = True
        for number, rule in enumerate(RULES, start=of_language + 1):
            limit = getattr(thresholds, rule.key)
            if limit is not None and rule.key != PARETO_RULE:
                failing[rows, number] = _fails(measures, rule, limit, rows)
        if thresholds.buckets is not None and language in edges:
            cost, tokens = (measures[name].to_numpy()[rows] for name in ("lm_cost", "lm_tokens"))
            kept = [PERPLEXITY_BUCKETS.index(name) for name in thresholds.buckets]
            outside = ~np.isin(buckets_of(cost, tokens, edges[language]), kept)
            failing[rows, RULE_NAMES.index(BUCKET_RULE)] = outside & (tokens > 0)
    if max_test_hits is not None:
        failing[:, RULE_NAMES.index(OVERLAP_RULE)] = measures["test_hits"].to_numpy() > max_test_hits
    return failing


def buckets_of(cost: np.ndarray, tokens: np.ndarray, edges: tuple[int, int]) -> np.ndarray:
    """int64, places in PERPLEXITY_BUCKETS: a document whose perplexity is below the first edge is head, below
    the second middle. Exact: costs are below 2^40, edges below 2^24.
    """
    costs, units = cost.astype(np.int64) * (LOG_STEPS // LM_STEPS), tokens.astype(np.int64)
    return np.sum([costs >= edge * units for edge in edges], axis=0)


def max_test_hits(decontaminate: Decontaminate) -> int | None:
    """Above how many n-grams of evaluation sets documents are dropped; None if none is."""
    return decontaminate.max_hits if decontaminate.sets and decontaminate.action == "drop" else None


def cuts_questions(decontaminate: Decontaminate) -> bool:
    """Whether what documents share with evaluation sets is cut out of them."""
    return bool(decontaminate.sets) and decontaminate.action == "cut"


def _fails(measures: pa.RecordBatch, rule: Rule, limit: float, rows: np.ndarray) -> np.ndarray:
    exact = Fraction(str(limit))
    if rule.logarithmic:
        exact = Fraction(log_steps(limit) * LM_STEPS, LOG_STEPS)
    # Counts are below 2^32, so int64 products are exact while the threshold's terms are small; else Python
    # integers.
    kind = np.int64 if max(exact.numerator, exact.denominator) < 1 << 31 else object
    value = count_terms(measures, rule, rule.measure, rows).astype(kind)
    per = count_terms(measures, rule, rule.per, rows).astype(kind) if isinstance(rule.per, str) else rule.per
    left, right = value * exact.denominator, per * exact.numerator
    return np.asarray(left < right if rule.key.startswith("min_") else left > right, bool)


def count_terms(measures: pa.RecordBatch, rule: Rule, expression: str, rows: np.ndarray) -> np.ndarray:
    """int64 [len(rows)]: what an expression comes to; UsageError where the run has not counted it."""
    total = np.zeros(len(rows), np.int64)
    for sign, name in terms_of(expression):
        if measures[name].null_count:
            groups = ", ".join(f"{group!r}" for group in sorted(groups_of(rule)))
            raise UsageError(
                f"{rule.key} compares counts that this run did not make: run it again with "
                f"annotate.measures = [{groups}] (no page is read again for that)"
            )
        total += sign * measures[name].to_numpy()[rows].astype(np.int64)
    return total
