"""Rules on stored measures: each compares two stored integers with a threshold of the recipe, exactly.

A threshold is a decimal number in the recipe; it is taken at its written value (`Fraction(str(0.1))` is
1/10), so "0.30 of the lines" means the same on every machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pyarrow as pa

from pipeline.config import Thresholds
from pipeline.schema import SCORE_STEPS

_NEVER = Thresholds()


@dataclass(frozen=True, slots=True)
class Rule:
    """measure / per compared with the threshold named `key`; `per` is a column, or a constant number of
    steps.
    """

    key: str
    measure: str
    per: str | int = 1


# In the order in which reasons are given; a key that starts with min_ fails below, one with max_ above.
RULES = (
    Rule("min_language_score", "language_score", SCORE_STEPS),
    Rule("min_characters", "characters"),
    Rule("min_words", "words"),
    Rule("max_words", "words"),
    Rule("min_mean_word_length", "word_characters", "words"),
    Rule("max_mean_word_length", "word_characters", "words"),
    Rule("max_hashes_per_word", "hash_symbols", "words"),
    Rule("max_ellipses_per_word", "ellipses", "words"),
    Rule("max_bullet_line_share", "bullet_lines", "lines"),
    Rule("max_ellipsis_line_share", "ellipsis_lines", "lines"),
    Rule("min_alphabetic_word_share", "alphabetic_words", "words"),
    Rule("min_stop_words", "stop_words"),
    Rule("min_stop_words_zh", "stop_words_zh"),
    Rule("max_duplicate_line_share", "duplicate_lines", "lines"),
    Rule("max_duplicate_line_character_share", "duplicate_line_characters", "characters"),
    Rule("max_duplicate_paragraph_share", "duplicate_paragraphs", "paragraphs"),
    Rule("max_duplicate_paragraph_character_share", "duplicate_paragraph_characters", "characters"),
    Rule("min_punctuated_line_share", "punctuated_lines", "lines"),
    Rule("max_short_line_share", "short_lines", "lines"),
    Rule("max_newlines_per_word", "newlines", "words"),
    Rule("min_han_share", "han_characters", "characters"),
    Rule("max_digit_share", "digit_characters", "characters"),
)
# Not on measures: where a document comes from (provenance.py), and its language.
LICENCE_RULE, LIST_RULE, LANGUAGE_RULE = "licences", "blocked", "languages"
RULE_NAMES = (LICENCE_RULE, LIST_RULE, LANGUAGE_RULE, *(rule.key for rule in RULES))


def thresholds_for(table: Mapping[str, Mapping[str, Thresholds]], kind: str, language: str) -> Thresholds:
    """The thresholds of a kind and language; "default" stands for kinds and languages that are not named."""
    by_language = table.get(kind, table.get("default", {}))
    return by_language.get(language, by_language.get("default", _NEVER))


def failing_rules(
    measures: pa.RecordBatch, kind: str, table: Mapping[str, Mapping[str, Thresholds]]
) -> np.ndarray:
    """bool [rows, len(RULE_NAMES)]: which rule each document of one kind fails; a share of nothing fails no
    maximum, and measures say nothing of licence and lists.
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
            if limit is not None:
                failing[rows, number] = _fails(measures, rule, limit, rows)
    return failing


def _fails(measures: pa.RecordBatch, rule: Rule, limit: float, rows: np.ndarray) -> np.ndarray:
    exact = Fraction(str(limit))
    # Counts are below 2^32, so int64 products are exact while the threshold's terms are small; else Python
    # integers.
    kind = np.int64 if max(exact.numerator, exact.denominator) < 1 << 31 else object
    value = measures[rule.measure].to_numpy()[rows].astype(kind)
    per = measures[rule.per].to_numpy()[rows].astype(kind) if isinstance(rule.per, str) else rule.per
    left, right = value * exact.denominator, per * exact.numerator
    return np.asarray(left < right if rule.key.startswith("min_") else left > right, bool)
