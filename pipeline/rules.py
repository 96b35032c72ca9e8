"""The rules: which stored counts each threshold of a recipe compares, and the thresholds themselves.

decide/thresholds.py compares; rule_sets.py has the numbers of the peers under their names.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

from pipeline.counts import MEASURE_GROUPS
from pipeline.schema import SCORE_STEPS

ENTROPY_STEPS = 1_000  # of a nat
PERPLEXITY_BUCKETS = ("head", "middle", "tail")  # CCNet
PERPLEXITY_RULES = ("buckets", "min_perplexity", "max_perplexity")
LOG_STEPS = 1_000_000  # of a decade: how exactly a perplexity of the recipe is taken


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits on the stored measures; None switches a rule off. Shares are compared exactly, as integers."""

    sets: tuple[str, ...] = ()  # names of rule_sets.SETS; a key that stands beside them has the last word
    without: tuple[str, ...] = ()  # keys that those sets give and that are not wanted
    languages: tuple[str, ...] | None = None  # codes that are kept, as the language model labels them
    min_language_score: float | None = None  # fastText probability
    buckets: tuple[str, ...] | None = None  # of PERPLEXITY_BUCKETS, that are kept; needs annotate.perplexity
    min_perplexity: float | None = None  # by the model of annotate.perplexity: too low is boilerplate
    max_perplexity: float | None = None
    min_paragraph_language_share: float | None = None  # of judged characters; needs paragraph_languages
    min_characters: int | None = None
    min_words: int | None = None  # Gopher: 50
    max_words: int | None = None  # Gopher: 100,000
    min_mean_word_length: float | None = None  # characters; Gopher: 3
    max_mean_word_length: float | None = None  # Gopher: 10
    max_hashes_per_word: float | None = None  # "#"; Gopher: 0.1
    max_ellipses_per_word: float | None = None  # Gopher: 0.1
    max_bullet_line_share: float | None = None  # Gopher: 0.9
    max_ellipsis_line_share: float | None = None  # Gopher: 0.3
    min_alphabetic_word_share: float | None = None  # Gopher: 0.8
    min_stop_words: int | None = None  # distinct English stop words; Gopher: 2
    min_stop_words_zh: int | None = None  # distinct Chinese stop words; FineWeb2 cmn_Hani: 2
    min_stop_word_occurrences: int | None = None  # of English stop words; DCLM: 2
    max_duplicate_line_share: float | None = None  # Gopher: 0.3
    max_duplicate_line_character_share: float | None = None  # Gopher: 0.2
    max_duplicate_paragraph_share: float | None = None  # Gopher: 0.3
    max_duplicate_paragraph_character_share: float | None = None  # Gopher: 0.2
    min_punctuated_line_share: float | None = None  # FineWeb: 0.12
    max_short_line_share: float | None = None  # lines of at most 30 characters; FineWeb: 0.67
    max_newlines_per_word: float | None = None  # FineWeb: 0.3
    min_han_share: float | None = None  # Han characters among all; ChineseWebText: 0.3
    max_digit_share: float | None = None  # digits among all characters; MAP-NEO zh: 0.3
    # Scripts among letters: a language that is not written so is a wrong answer of the language model.
    min_kana_share: float | None = None  # ja: running text has 0.5 to 0.8
    max_kana_share: float | None = None  # zh
    min_hangul_share: float | None = None  # ko
    min_latin_share: float | None = None
    min_cyrillic_share: float | None = None
    min_arabic_share: float | None = None
    max_traditional_share: float | None = None  # among characters of one variety; ChineseWebText: 0
    max_simplified_share: float | None = None  # among characters of one variety
    max_cantonese_share: float | None = None  # among Han characters; Cantonese has about 0.18
    max_fineweb_duplicate_line_character_share: float | None = (
        None  # of characters but newlines; FineWeb: 0.01
    )
    max_top_2_gram_share: float | None = (
        None  # Gopher, counted as datatrove does (kernels/repetition.py): 0.2
    )
    max_top_3_gram_share: float | None = None  # Gopher: 0.18
    max_top_4_gram_share: float | None = None  # Gopher: 0.16
    max_duplicate_5_gram_share: float | None = None  # Gopher: 0.15
    max_duplicate_6_gram_share: float | None = None  # Gopher: 0.14
    max_duplicate_7_gram_share: float | None = None  # Gopher: 0.13
    max_duplicate_8_gram_share: float | None = None  # Gopher: 0.12
    max_duplicate_9_gram_share: float | None = None  # Gopher: 0.11
    max_duplicate_10_gram_share: float | None = None  # Gopher: 0.1
    # The same as DCLM and dolma count them (kernels/repetition_variants.py).
    max_dclm_top_2_gram_share: float | None = None
    max_dclm_top_3_gram_share: float | None = None
    max_dclm_top_4_gram_share: float | None = None
    max_dclm_duplicate_5_gram_share: float | None = None
    max_dclm_duplicate_6_gram_share: float | None = None
    max_dclm_duplicate_7_gram_share: float | None = None
    max_dclm_duplicate_8_gram_share: float | None = None
    max_dclm_duplicate_9_gram_share: float | None = None
    max_dclm_duplicate_10_gram_share: float | None = None
    max_dclm_duplicate_line_share: float | None = None
    max_dclm_duplicate_line_character_share: float | None = None
    max_dclm_duplicate_paragraph_share: float | None = None
    max_dclm_duplicate_paragraph_character_share: float | None = None
    max_dolma_top_2_gram_share: float | None = None
    max_dolma_top_3_gram_share: float | None = None
    max_dolma_top_4_gram_share: float | None = None
    max_dolma_duplicate_5_gram_share: float | None = None
    max_dolma_duplicate_6_gram_share: float | None = None
    max_dolma_duplicate_7_gram_share: float | None = None
    max_dolma_duplicate_8_gram_share: float | None = None
    max_dolma_duplicate_9_gram_share: float | None = None
    max_dolma_duplicate_10_gram_share: float | None = None
    # What is left of a page by C4's rules for lines (kernels/c4.py).
    min_c4_tfds_sentences: int | None = None  # 3
    max_c4_tfds_ended: int | None = None  # lines with lorem ipsum or {; 0
    min_c4_datatrove_sentences: int | None = None  # 5
    max_c4_datatrove_ended: int | None = None
    min_c4_fineweb_sentences: int | None = None  # 5, lines without an end mark kept
    max_c4_fineweb_ended: int | None = None
    min_long_lines: int | None = None  # lines of at least 200 characters; mC4: 3
    min_mean_line_length: float | None = None  # characters; ChineseWebText: 10
    max_mean_line_length: float | None = None  # BigCode: 100
    max_longest_line: int | None = None  # characters; BigCode: 1,000
    # Chinese corpora (kernels/chinese.py).
    min_sentences: int | None = None  # MAP-NEO: 2
    max_bracket_share: float | None = None  # characters inside of 【】; MAP-NEO: 0.1
    max_more_line_share: float | None = None  # lines that end with 更多 and the like; MAP-NEO: 0.3
    min_distinct_character_share: float | None = None  # MAP-NEO: 0.1
    min_character_entropy: float | None = None  # nats; MAP-NEO: 3
    max_repeated_13_gram_share: float | None = None  # of characters; ChineseWebText: 0.5
    # Source code (kernels/code_files.py).
    min_alphanumeric_share: float | None = None  # letters and digits; BigCode: 0.25
    min_alphabetic_share: float | None = None  # StarCoder2: 0.25
    max_generated_marks: int | None = None  # BigCode: 0
    max_data_share: float | None = None  # characters of base64 and the like; StarCoder2: 0.5
    max_data_characters: int | None = None  # StarCoder2: 1,024
    max_xml_headers: int | None = None  # StarCoder: 0


@dataclass(frozen=True, slots=True)
class Rule:
    """measure / per compared with the threshold named `key`. Both are columns of measures/, added up or taken
    off ("characters-newlines"); `per` may be a constant number of steps instead.
    """

    key: str
    measure: str
    per: str | int = 1
    logarithmic: bool = False  # the threshold is a perplexity: measure / per is its logarithm in LM_STEPS


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
    Rule("max_top_2_gram_share", "top_2_gram_characters", "characters"),
    Rule("max_top_3_gram_share", "top_3_gram_characters", "characters"),
    Rule("max_top_4_gram_share", "top_4_gram_characters", "characters"),
    Rule("max_duplicate_5_gram_share", "duplicate_5_gram_characters", "characters"),
    Rule("max_duplicate_6_gram_share", "duplicate_6_gram_characters", "characters"),
    Rule("max_duplicate_7_gram_share", "duplicate_7_gram_characters", "characters"),
    Rule("max_duplicate_8_gram_share", "duplicate_8_gram_characters", "characters"),
    Rule("max_duplicate_9_gram_share", "duplicate_9_gram_characters", "characters"),
    Rule("max_duplicate_10_gram_share", "duplicate_10_gram_characters", "characters"),
    Rule("max_dclm_top_2_gram_share", "dclm_top_2_gram_characters", "word_characters"),
    Rule("max_dclm_top_3_gram_share", "dclm_top_3_gram_characters", "word_characters"),
    Rule("max_dclm_top_4_gram_share", "dclm_top_4_gram_characters", "word_characters"),
    Rule("max_dclm_duplicate_5_gram_share", "dclm_duplicate_5_gram_characters", "word_characters"),
    Rule("max_dclm_duplicate_6_gram_share", "dclm_duplicate_6_gram_characters", "word_characters"),
    Rule("max_dclm_duplicate_7_gram_share", "dclm_duplicate_7_gram_characters", "word_characters"),
    Rule("max_dclm_duplicate_8_gram_share", "dclm_duplicate_8_gram_characters", "word_characters"),
    Rule("max_dclm_duplicate_9_gram_share", "dclm_duplicate_9_gram_characters", "word_characters"),
    Rule("max_dclm_duplicate_10_gram_share", "dclm_duplicate_10_gram_characters", "word_characters"),
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
    Rule("max_dolma_top_2_gram_share", "dolma_top_2_gram_characters", "characters-whitespace_characters"),
    Rule("max_dolma_top_3_gram_share", "dolma_top_3_gram_characters", "characters-whitespace_characters"),
    Rule("max_dolma_top_4_gram_share", "dolma_top_4_gram_characters", "characters-whitespace_characters"),
    Rule("max_dolma_duplicate_5_gram_share", "dolma_duplicate_5_gram_characters", "dolma_5_gram_characters"),
    Rule("max_dolma_duplicate_6_gram_share", "dolma_duplicate_6_gram_characters", "dolma_6_gram_characters"),
    Rule("max_dolma_duplicate_7_gram_share", "dolma_duplicate_7_gram_characters", "dolma_7_gram_characters"),
    Rule("max_dolma_duplicate_8_gram_share", "dolma_duplicate_8_gram_characters", "dolma_8_gram_characters"),
    Rule("max_dolma_duplicate_9_gram_share", "dolma_duplicate_9_gram_characters", "dolma_9_gram_characters"),
    Rule(
        "max_dolma_duplicate_10_gram_share", "dolma_duplicate_10_gram_characters", "dolma_10_gram_characters"
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
    Rule("min_perplexity", "lm_cost", "lm_tokens", logarithmic=True),
    Rule("max_perplexity", "lm_cost", "lm_tokens", logarithmic=True),
)

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
