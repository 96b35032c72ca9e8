"""Percentiles from histograms of integers, whatever the parts; on which side of a cut-off a document is."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import Thresholds
from pipeline.decide.percentiles import add_bins, count_bins, cut_at
from pipeline.decide.thresholds import BUCKET_RULE, RULE_NAMES, buckets_of, failing_rules
from pipeline.rules import LOG_STEPS, log_steps
from pipeline.schema import LM_STEPS, MEASURES

LANGUAGES = ["en", "zh"]


def measures(rows: list[tuple[str, int, int]]) -> pa.RecordBatch:
    columns = [column for column in MEASURES if column.name not in ("edits", "test_spans")]
    empty = dict.fromkeys((column.name for column in columns), 0)
    found = [empty | {"language": code, "lm_cost": cost, "lm_tokens": tokens} for code, cost, tokens in rows]
    return pa.RecordBatch.from_pylist(found, pa.schema([(column.name, column.type) for column in columns]))


def random_rows(count: int) -> list[tuple[str, int, int]]:
    draw = np.random.default_rng(3)
    tokens = draw.integers(0, 50, count)
    return [
        (["en", "zh", "de"][draw.integers(3)], int(n * draw.integers(4_000, 16_000)), int(n)) for n in tokens
    ]


def test_bins_are_the_same_for_any_parts_and_leave_out_what_has_no_perplexity() -> None:
    rows = random_rows(3_000)
    whole = add_bins(count_bins(measures(rows), 7, LANGUAGES))
    parts = [count_bins(measures(rows[start : start + 700]), 7, LANGUAGES) for start in range(0, 3_000, 700)]
    assert np.array_equal(add_bins(np.concatenate(parts[::-1])), whole)
    assert int(whole["documents"].sum()) == sum(tokens > 0 and code != "de" for code, _, tokens in rows)
    assert set(whole["source"]) == {7} and len(np.unique(whole)) == len(whole)
    assert not len(add_bins(whole[:0]))


@pytest.mark.parametrize("per_cent", [1, 30, 60, 99])
def test_a_cut_off_is_the_lowest_edge_with_enough_below(per_cent: int) -> None:
    rows = [row for row in random_rows(2_000) if row[0] == "en" and row[2]]
    bins = add_bins(count_bins(measures(rows), 0, LANGUAGES))
    edge = cut_at(bins["bin"], bins["documents"], per_cent)
    logs = np.array([cost * 1_000 // (tokens * LM_STEPS) for _, cost, tokens in rows])
    assert np.mean(logs < edge) * 100 >= per_cent > np.mean(logs < edge - 1) * 100
    edges = edge * LOG_STEPS // 1_000, 16 * LOG_STEPS
    cost, tokens = (np.array([row[at] for row in rows]) for at in (1, 2))
    assert np.array_equal(buckets_of(cost, tokens, edges) == 0, logs < edge)


def test_a_document_at_the_cut_off_is_in_the_next_bucket() -> None:
    edges = (log_steps(10), log_steps(1_000))
    assert edges == (LOG_STEPS, 3 * LOG_STEPS)
    cost = np.array([LM_STEPS * 7 - 1, LM_STEPS * 7, 3 * LM_STEPS * 7 - 1, 3 * LM_STEPS * 7])
    assert buckets_of(cost, np.full(4, 7), edges).tolist() == [0, 1, 1, 2]


def test_perplexities_of_a_recipe_are_taken_at_their_written_value() -> None:
    assert log_steps(340) == 2_531_479 and log_steps(1950.0) == 3_290_035 and log_steps(1) == 0
    table = {"web": {"en": Thresholds(max_perplexity=100.0, min_perplexity=10.0)}}
    costs = [LM_STEPS * 50 - 1, LM_STEPS * 50, LM_STEPS * 100, LM_STEPS * 100 + 1, 0]
    batch = measures([("en", cost, 50) for cost in costs[:-1]] + [("en", 0, 0)])
    found = failing_rules(batch, "web", table)
    names = [[RULE_NAMES[at] for at in np.flatnonzero(row)] for row in found]
    assert names == [["min_perplexity"], [], [], ["max_perplexity"], []]


def test_buckets_are_of_the_language_and_what_has_no_perplexity_passes() -> None:
    table = {"web": {"default": Thresholds(buckets=("middle", "tail"))}}
    batch = measures([("en", 4_000, 2), ("en", 9_000, 2), ("zh", 4_000, 2), ("de", 4_000, 2), ("en", 0, 0)])
    edges = {"en": (LOG_STEPS, 2 * LOG_STEPS), "zh": (LOG_STEPS // 4, LOG_STEPS)}
    fails = failing_rules(batch, "web", table, edges=edges)[:, RULE_NAMES.index(BUCKET_RULE)]
    assert fails.tolist() == [True, False, False, False, False]
