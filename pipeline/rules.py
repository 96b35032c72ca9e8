"""The rules: which stored counts each threshold of a recipe compares.

thresholds.py has the thresholds, decide/thresholds.py compares; rule_sets.py has the numbers of the peers
under their names.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

from pipeline.counts import MEASURE_GROUPS, WORD_CATEGORIES
from pipeline.schema import SCORE_STEPS
from pipeline.thresholds import Thresholds

ENTROPY_STEPS = 1_000  # of a nat
PERPLEXITY_BUCKETS = ("head", "middle", "tail")  # CCNet
PERPLEXITY_RULES = ("buckets", "min_perplexity", "max_perplexity")
LOG_STEPS = 1_000_000  # of a decade: how exactly a perplexity of the recipe is taken


@dataclass(frozen=True, slots=True)
class Rule:
    """measure / per compared with the threshold named `key`. Both are columns of measures/, added up or taken
    off ("characters-newlines"); `per` may be a constant number of steps instead.
    """

    key: str
    measure: str
    per: str | int = 1
    logarithmic: bool = False  # the threshold is a perplexity: measure / per is its logarithm in LM_STEPS


_TOPS, _RUNS = (2, 3, 4), range(5, 11)  # n of Gopher's n-grams

# In the order in which reasons are given; a key that starts with min_ fails below, one with max_ above.
RULES = (
    Rule("min_language_score", "language_score", SCORE_STEPS),
    Rule("min_paragraph_language_share", "paragraph_language_characters", "judged_paragraph_characters"),
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
    Rule("min_kana_share", "kana_characters", "alphabetic_characters"),
    Rule("max_kana_share", "kana_characters", "alphabetic_characters"),
    Rule("min_hangul_share", "hangul_characters", "alphabetic_characters"),
    Rule("min_latin_share", "latin_characters", "alphabetic_characters"),
    Rule("min_cyrillic_share", "cyrillic_characters", "alphabetic_characters"),
    Rule("min_arabic_share", "arabic_characters", "alphabetic_characters"),
    Rule("max_traditional_share", "traditional_characters", "variety_characters"),
    Rule("max_simplified_share", "simplified_characters", "variety_characters"),
    Rule("max_cantonese_share", "cantonese_characters", "han_characters"),
    Rule("min_stop_word_occurrences", "stop_word_occurrences"),
    Rule("max_fineweb_duplicate_line_character_share", "duplicate_line_characters", "characters-newlines"),
    *(Rule(f"max_top_{n}_gram_share", f"top_{n}_gram_characters", "characters") for n in _TOPS),
    *(Rule(f"max_duplicate_{n}_gram_share", f"duplicate_{n}_gram_characters", "characters") for n in _RUNS),
    *(
        Rule(f"max_dclm_top_{n}_gram_share", f"dclm_top_{n}_gram_characters", "word_characters")
        for n in _TOPS
    ),
    *(
        Rule(f"max_dclm_duplicate_{n}_gram_share", f"dclm_duplicate_{n}_gram_characters", "word_characters")
        for n in _RUNS
    ),
    Rule("max_dclm_duplicate_line_share", "duplicate_lines+copied_lines", "lines"),
    Rule(
        "max_dclm_duplicate_line_character_share",
        "duplicate_line_characters+copied_line_characters",
        "characters-newlines",
    ),
    Rule("max_dclm_duplicate_paragraph_share", "duplicate_paragraphs+copied_paragraphs", "paragraphs"),
    Rule(
        "max_dclm_duplicate_paragraph_character_share",
        "duplicate_paragraph_characters+copied_paragraph_characters",
        "paragraph_characters",
    ),
    *(
        Rule(
            f"max_dolma_top_{n}_gram_share",
            f"dolma_top_{n}_gram_characters",
            "characters-whitespace_characters",
        )
        for n in _TOPS
    ),
    *(
        Rule(
            f"max_dolma_duplicate_{n}_gram_share",
            f"dolma_duplicate_{n}_gram_characters",
            f"dolma_{n}_gram_characters",
        )
        for n in _RUNS
    ),
    Rule("min_c4_tfds_sentences", "c4_tfds_sentences"),
    Rule("max_c4_tfds_ended", "c4_tfds_ended"),
    Rule("min_c4_datatrove_sentences", "c4_datatrove_sentences"),
    Rule("max_c4_datatrove_ended", "c4_datatrove_ended"),
    Rule("min_c4_fineweb_sentences", "c4_fineweb_sentences"),
    Rule("max_c4_fineweb_ended", "c4_fineweb_ended"),
    Rule("min_long_lines", "long_lines"),
    Rule("min_mean_line_length", "characters-newlines", "lines"),
    Rule("max_mean_line_length", "characters-newlines", "lines"),
    Rule("max_longest_line", "longest_line_characters"),
    Rule("min_spacy_words", "spacy_words"),
    Rule("max_spacy_words", "spacy_words"),
    Rule("min_spacy_mean_word_length", "spacy_word_characters", "spacy_words"),
    Rule("max_spacy_mean_word_length", "spacy_word_characters", "spacy_words"),
    Rule("min_ended_line_share", "ended_lines", "lines"),
    Rule("max_newlines_per_spacy_token", "newlines", "spacy_tokens"),
    Rule("max_hashes_per_spacy_token", "hash_symbols", "spacy_tokens"),
    Rule("max_ellipses_per_spacy_token", "ellipses", "spacy_tokens"),
    Rule("min_spacy_alphabetic_share", "spacy_alphabetic_tokens", "spacy_tokens"),
    Rule("min_spacy_stop_words", "spacy_stop_words"),
    Rule("min_jieba_mean_word_length", "jieba_word_characters", "jieba_words"),
    Rule("max_jieba_mean_word_length", "jieba_word_characters", "jieba_words"),
    Rule("min_jieba_alphabetic_share", "jieba_alphabetic_tokens", "jieba_tokens"),
    Rule("max_newlines_per_jieba_token", "newlines", "jieba_tokens"),
    *(Rule(f"max_jieba_top_{n}_gram_share", f"jieba_top_{n}_gram_characters", "characters") for n in _TOPS),
    *(
        Rule(f"max_jieba_duplicate_{n}_gram_share", f"jieba_duplicate_{n}_gram_characters", "characters")
        for n in _RUNS
    ),
    Rule("min_sentences", "sentences"),
    Rule("max_bracket_share", "bracket_characters", "characters"),
    Rule("max_more_line_share", "more_lines", "lines"),
    Rule("min_distinct_character_share", "distinct_characters", "characters-whitespace_characters"),
    Rule("min_character_entropy", "character_entropy", ENTROPY_STEPS),
    Rule("max_repeated_13_gram_share", "repeated_13_grams", "thirteen_grams"),
    Rule("min_alphanumeric_share", "alphabetic_characters+digit_characters", "characters"),
    Rule("min_alphabetic_share", "alphabetic_characters", "characters"),
    Rule("max_generated_marks", "generated_marks"),
    Rule("max_data_share", "data_characters", "characters"),
    Rule("max_data_characters", "data_characters"),
    Rule("max_xml_headers", "xml_headers"),
    Rule("min_quality_score", "quality_score", "quality_steps"),
    Rule("quality_score_pareto", "quality_score", "quality_steps"),
    Rule("max_toxic_score", "toxic_score", "toxic_steps"),
    Rule("max_flagged_word_share", "flagged_words", "words"),
    Rule("max_flagged_character_share", "flagged_characters", "alphabetic_characters+digit_characters"),
    Rule("max_distinct_flagged_words", "distinct_flagged_words"),
    *(Rule(f"max_{what}_words", f"{what}_words") for what in ("flagged", *WORD_CATEGORIES)),
    Rule("max_url_characters", "url_characters"),
    Rule("max_url_digit_share", "url_digits", "url_characters"),
    Rule("max_url_path_segments", "url_path_segments"),
    Rule("max_url_query_fields", "url_query_fields"),
    Rule("min_perplexity", "lm_cost", "lm_tokens", logarithmic=True),
    Rule("max_perplexity", "lm_cost", "lm_tokens", logarithmic=True),
)
PARETO_RULE = "quality_score_pareto"  # not a limit: decide/score_sampling.py draws

SCORED_GROUPS = frozenset({"quality", "toxicity", "flagged"})  # of MEASURE_GROUPS, those that need models
_DIGITS = Context(prec=30)
_GROUP_OF = {name: group for group, counts in MEASURE_GROUPS.items() for name in counts}


def log_steps(perplexity: float) -> int:
    """log10 of a perplexity in LOG_STEPS, of its written value: the same on every machine."""
    return int((Decimal(str(perplexity)).log10(_DIGITS) * LOG_STEPS).to_integral_value(ROUND_HALF_EVEN))


def terms_of(expression: str) -> list[tuple[int, str]]:
    """(1 or -1, column) of every term of "a+b-c"."""
    return [(-1 if sign == "-" else 1, name) for sign, name in re.findall(r"([+-]?)(\w+)", expression)]


def columns_of(rule: Rule) -> list[str]:
    """The columns that a rule compares."""
    expressions = [rule.measure, *([rule.per] if isinstance(rule.per, str) else [])]
    return [name for expression in expressions for _, name in terms_of(expression)]


def groups_of(rule: Rule) -> set[str]:
    """The groups of counts that a rule needs."""
    return {_GROUP_OF[name] for name in columns_of(rule) if name in _GROUP_OF}


def measured_groups(table: Mapping[str, Mapping[str, Thresholds]], kind: str) -> Iterator[str]:
    """The groups of counts that the rules for a kind of source need, in the order of MEASURE_GROUPS."""
    by_language = table.get(kind, table.get("default", {}))
    asked = {
        group
        for rule in RULES
        for thresholds in by_language.values()
        if getattr(thresholds, rule.key) is not None
        for group in groups_of(rule)
    }
    return (group for group in MEASURE_GROUPS if group in asked)
