"""Rules compare stored integers with the written value of a threshold, exactly."""

from dataclasses import fields, replace
from typing import Any

import pyarrow as pa
import pytest

from pipeline.config import Thresholds
from pipeline.decide.thresholds import (
    LICENCE_RULE,
    LIST_RULE,
    OVERLAP_RULE,
    RULE_NAMES,
    failing_rules,
    thresholds_for,
)
from pipeline.rules import RULES, columns_of, terms_of
from pipeline.schema import MEASURES

NAMES = [column.name for column in MEASURES]


def measures(language: str = "en", **counts: int) -> pa.RecordBatch:
    row = dict.fromkeys(NAMES, 0) | {"language": language, "edits": [], "test_spans": []} | counts
    return pa.RecordBatch.from_pylist([row], schema=pa.schema([(c.name, c.type) for c in MEASURES]))


def failing(thresholds: Thresholds, batch: pa.RecordBatch, kind: str = "web") -> list[str]:
    table = {"web": {"en": thresholds}}
    found = failing_rules(batch, kind, table)
    return [name for name, fails in zip(RULE_NAMES, found[0], strict=True) if fails]


def test_every_threshold_has_a_rule_and_every_rule_its_columns() -> None:
    keys = {field.name for field in fields(Thresholds)} - {"sets", "without"}
    assert sorted({*RULE_NAMES} - {LICENCE_RULE, LIST_RULE, OVERLAP_RULE}) == sorted(keys)
    for rule in RULES:
        assert {*columns_of(rule)} <= {*NAMES}
        assert isinstance(rule.per, int) or terms_of(rule.per)


@pytest.mark.parametrize(("count", "fails"), [(30, False), (31, True)])
def test_a_share_at_its_limit_passes(count: int, fails: bool) -> None:
    batch = measures(lines=100, duplicate_lines=count)
    assert (failing(Thresholds(max_duplicate_line_share=0.3), batch) == ["max_duplicate_line_share"]) is fails


CHINESE: dict[str, Any] = {
    "characters": 1000,
    "alphabetic_characters": 900,
    "han_characters": 800,
    "variety_characters": 300,
}


@pytest.mark.parametrize(
    ("rule", "limit", "passing", "failing_counts"),
    [
        ("min_kana_share", 0.5, {"kana_characters": 450}, {"kana_characters": 449}),
        ("max_kana_share", 0.1, {"kana_characters": 90}, {"kana_characters": 91}),
        ("min_hangul_share", 0.5, {"hangul_characters": 450}, {"hangul_characters": 449}),
        ("min_latin_share", 0.5, {"latin_characters": 450}, {"latin_characters": 449}),
        ("min_cyrillic_share", 0.5, {"cyrillic_characters": 450}, {"cyrillic_characters": 449}),
        ("min_arabic_share", 0.5, {"arabic_characters": 450}, {"arabic_characters": 449}),
        ("max_traditional_share", 0.0, {"simplified_characters": 300}, {"traditional_characters": 1}),
        ("max_simplified_share", 0.05, {"simplified_characters": 15}, {"simplified_characters": 16}),
        ("max_cantonese_share", 0.03, {"cantonese_characters": 24}, {"cantonese_characters": 25}),
        (
            "min_paragraph_language_share",
            0.8,
            {"judged_paragraph_characters": 500, "paragraph_language_characters": 400},
            {"judged_paragraph_characters": 500, "paragraph_language_characters": 399},
        ),
    ],
)
def test_shares_of_scripts_and_varieties(
    rule: str, limit: float, passing: dict[str, Any], failing_counts: dict[str, Any]
) -> None:
    thresholds = replace(Thresholds(), **{rule: limit})
    assert failing(thresholds, measures(**CHINESE, **passing)) == []
    assert failing(thresholds, measures(**CHINESE, **failing_counts)) == [rule]


def test_what_has_no_judged_paragraph_passes() -> None:
    assert failing(Thresholds(min_paragraph_language_share=1.0), measures()) == []


def test_decimal_limits_are_taken_as_written() -> None:
    # 0.1 + 0.2 > 0.3 in floating point: 3 of 10 must not fail a limit of 0.3, 7 of 70 not one of 0.1.
    assert failing(Thresholds(max_hashes_per_word=0.1), measures(words=70, hash_symbols=7)) == []
    assert failing(Thresholds(min_language_score=0.65), measures(language_score=6500)) == []
    assert failing(Thresholds(min_language_score=0.65), measures(language_score=6499)) == [
        "min_language_score"
    ]


def test_largest_counts_do_not_overflow() -> None:
    batch = measures(words=2**32 - 1, word_characters=2**32 - 1)
    limit = Thresholds(max_mean_word_length=0.999999999, min_mean_word_length=0.123456789)
    assert failing(limit, batch) == ["max_mean_word_length"]


def test_a_share_of_nothing_fails_no_maximum() -> None:
    limits = {rule.key: 0.5 for rule in RULES if rule.key.startswith("max_") and rule.key != "max_words"}
    assert failing(replace(Thresholds(), **limits), measures()) == []


def test_all_failing_rules_are_named_in_order() -> None:
    limits = Thresholds(languages=("zh",), min_words=50, min_characters=10)
    assert failing(limits, measures(words=3)) == ["languages", "min_characters", "min_words"]


def test_default_stands_for_what_is_not_named() -> None:
    english, other, any_kind = Thresholds(min_words=1), Thresholds(min_words=2), Thresholds(min_words=3)
    table = {"web": {"en": english, "default": other}, "default": {"default": any_kind}}
    assert thresholds_for(table, "web", "en") is english
    assert thresholds_for(table, "web", "fr") is other
    assert thresholds_for(table, "books", "fr") is any_kind
    assert thresholds_for({}, "web", "en") == Thresholds()
