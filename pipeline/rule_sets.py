"""The numbers of published filters under their names: `sets = ["gopher_quality", "c4.tfds"]` in a recipe.

Where peers count differently under one name, the name says whose count it is. What a set cannot say exactly
is said beside it; docs of the counts are in the kernels. A text's words are those of kernels/words.py, one
character each in Chinese.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.config import RecipeError, nearest

_GOPHER_NGRAMS = {
    **{f"top_{n}_gram_share": share for n, share in ((2, 0.2), (3, 0.18), (4, 0.16))},
    **{f"duplicate_{n}_gram_share": (20 - n) / 100 for n in range(5, 11)},
}
_GOPHER_QUALITY = {
    "min_words": 50,
    "max_words": 100_000,
    "min_mean_word_length": 3.0,
    "max_mean_word_length": 10.0,
    "max_hashes_per_word": 0.1,
    "max_ellipses_per_word": 0.1,
    "max_bullet_line_share": 0.9,
    "max_ellipsis_line_share": 0.3,
    "min_alphabetic_word_share": 0.8,
}
SETS: Mapping[str, Mapping[str, float]] = {
    # Rae et al. 2021, appendix A.1.1
    "gopher_quality": {**_GOPHER_QUALITY, "min_stop_words": 2},
    # datatrove counts spaCy's tokens, marks among them (gopher_quality_filter.py): for English
    "gopher_quality.datatrove": {
        "min_spacy_words": 50,
        "max_spacy_words": 100_000,
        "min_spacy_mean_word_length": 3.0,
        "max_spacy_mean_word_length": 10.0,
        "max_hashes_per_spacy_token": 0.1,
        "max_ellipses_per_spacy_token": 0.1,
        "max_bullet_line_share": 0.9,
        "max_ellipsis_line_share": 0.3,
        "min_spacy_alphabetic_share": 0.8,
        "min_spacy_stop_words": 2,
    },
    # DCLM counts occurrences of stop words (dclm_baseline_refinedweb.yaml)
    "gopher_quality.dclm": {**_GOPHER_QUALITY, "min_stop_word_occurrences": 2},
    # Rae et al. 2021, table A1
    "gopher_repetition.datatrove": {
        "max_duplicate_line_share": 0.3,
        "max_duplicate_paragraph_share": 0.3,
        "max_duplicate_line_character_share": 0.2,
        "max_duplicate_paragraph_character_share": 0.2,
        **{f"max_{name}": share for name, share in _GOPHER_NGRAMS.items()},
    },
    # Tags only in dolma: the cut-offs are Gopher's. Its duplicate lines count blank ones; ours do not.
    "gopher_repetition.dolma": {f"max_dolma_{name}": share for name, share in _GOPHER_NGRAMS.items()},
    # DCLM, massive_web_repetition_filters
    "gopher_repetition.dclm": {
        "max_dclm_duplicate_line_share": 0.3,
        "max_dclm_duplicate_paragraph_share": 0.3,
        "max_dclm_duplicate_line_character_share": 0.2,
        "max_dclm_duplicate_paragraph_character_share": 0.2,
        **{f"max_dclm_{name}": share for name, share in _GOPHER_NGRAMS.items()},
    },
    # TensorFlow Datasets, text/c4_utils.py
    "c4.tfds": {"min_c4_tfds_sentences": 3, "max_c4_tfds_ended": 0},
    # datatrove's defaults (c4_filters.py)
    "c4.datatrove": {"min_c4_datatrove_sentences": 5, "max_c4_datatrove_ended": 0},
    # FineWeb asks for no end mark (examples/fineweb.py)
    "c4.fineweb": {"min_c4_fineweb_sentences": 5, "max_c4_fineweb_ended": 0},
    "mc4": {"min_long_lines": 3},
    # Penedo et al. 2024 (fineweb_quality_filter.py)
    "fineweb": {
        "min_punctuated_line_share": 0.12,
        "max_short_line_share": 0.67,
        "max_fineweb_duplicate_line_character_share": 0.01,
        "max_newlines_per_word": 0.3,
    },
    # the same on spaCy's tokens, and with Unicode's ends of sentences, as datatrove has it: for English
    "fineweb.datatrove": {
        "min_ended_line_share": 0.12,
        "max_short_line_share": 0.67,
        "max_fineweb_duplicate_line_character_share": 0.01,
        "max_newlines_per_spacy_token": 0.3,
    },
    # Wenzek et al. 2020 (mine.py); perplexity apart
    "ccnet": {"min_characters": 300, "min_language_score": 0.5},
    # Penedo et al. 2025, configs/cmn_Hani.yml, but for word lengths and the share of alphabetic words, which
    # are of words from a dictionary. N-grams are of characters here, and so are more often repeated.
    "fineweb2.zh": {
        "min_language_score": 0.692,
        "max_duplicate_line_share": 0.287,
        **{f"max_top_{n}_gram_share": share for n, share in ((2, 0.256), (3, 0.201), (4, 0.171))},
        **{
            f"max_duplicate_{n}_gram_share": share
            for n, share in zip(range(5, 11), (0.198, 0.182, 0.167, 0.154, 0.14, 0.127), strict=True)
        },
        "min_punctuated_line_share": 0.106,
        "max_newlines_per_word": 0.178,
        "min_stop_words_zh": 2,
    },
    # The same numbers on jieba's words, as they are meant: all of cmn_Hani.yml
    "fineweb2.zh.jieba": {
        "min_language_score": 0.692,
        "max_duplicate_line_share": 0.287,
        **{f"max_jieba_top_{n}_gram_share": share for n, share in ((2, 0.256), (3, 0.201), (4, 0.171))},
        **{
            f"max_jieba_duplicate_{n}_gram_share": share
            for n, share in zip(range(5, 11), (0.198, 0.182, 0.167, 0.154, 0.14, 0.127), strict=True)
        },
        "min_jieba_mean_word_length": 1.0,
        "max_jieba_mean_word_length": 5.0,
        "min_jieba_alphabetic_share": 0.735,
        "min_ended_line_share": 0.106,
        "max_newlines_per_jieba_token": 0.178,
        "min_stop_words_zh": 2,
    },
    # Chen et al. 2023, preprocess.py
    "chinesewebtext": {
        "min_language_score": 0.5,
        "min_characters": 201,
        "min_mean_line_length": 10.0,
        "min_han_share": 0.3,
        "max_traditional_share": 0.0,
        "max_repeated_13_gram_share": 0.5,
    },
    # Zhang et al. 2024, filter.py, as it is meant: its n-gram rules are never called there
    "map-neo.zh": {
        "min_language_score": 0.4,
        "min_characters": 50,
        "max_words": 10_000,
        "max_bracket_share": 0.1,
        "min_sentences": 2,
        "max_hashes_per_word": 0.1,
        "max_ellipses_per_word": 0.1,
        "max_digit_share": 0.3,
        "max_more_line_share": 0.3,
        "max_bullet_line_share": 0.9,
        "min_distinct_character_share": 0.1,
        "min_character_entropy": 3.0,
        **{f"max_top_{n}_gram_share": share for n, share in ((2, 0.2), (3, 0.18), (4, 0.16))},
    },
    # BigCode's The Stack (line lengths, letters, generated files) and StarCoder2 (data)
    "bigcode": {
        "max_longest_line": 1_000,
        "max_mean_line_length": 100.0,
        "min_alphanumeric_share": 0.25,
        "min_alphabetic_share": 0.25,
        "max_generated_marks": 0,
        "max_data_share": 0.5,
        "max_data_characters": 1_024,
        "max_xml_headers": 0,
    },
}


def with_sets(tree: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Thresholds of a parsed recipe with what its `sets` give, less what stands in `without`.

    RecipeError, naming `key`, for an unknown set, for sets that disagree about a key that the recipe does not
    say itself, and for a `without` that no set gives.
    """
    given: dict[str, Any] = {}
    own = {name: value for name, value in tree.items() if value is not None}
    without = own.get("without", ())
    for name in own.get("sets", ()):
        if name not in SETS:
            raise RecipeError(
                f"{key}.sets: no set {name!r}; there are {', '.join(SETS)}{nearest(name, SETS)}"
            )
        for rule, value in SETS[name].items():
            if rule not in own and rule not in without and given.setdefault(rule, value) != value:
                raise RecipeError(
                    f"{key}.sets give two values for {rule}, {given[rule]} and {value}: write {rule} yourself"
                )
    known = {rule for name in own.get("sets", ()) for rule in SETS[name]}
    for rule in without:
        if rule not in known:
            raise RecipeError(f"{key}.without: none of its sets gives {rule!r}{nearest(rule, known)}")
        if rule in own:
            raise RecipeError(f"{key}.without takes {rule} away, but {key}.{rule} sets it")
    return {**given, **own}
