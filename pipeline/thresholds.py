"""The thresholds of a recipe, by kind of source and language; rules.py says what each compares."""

from dataclasses import dataclass


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
    # Gopher's rules on tokens of spaCy, as datatrove has them (kernels/spacy_tokens.py).
    min_spacy_words: int | None = None  # 50
    max_spacy_words: int | None = None  # 100,000
    min_spacy_mean_word_length: float | None = None  # 3
    max_spacy_mean_word_length: float | None = None  # 10
    min_ended_line_share: float | None = None  # FineWeb's filter in datatrove: 0.12
    max_newlines_per_spacy_token: float | None = None  # FineWeb's filter in datatrove: 0.3
    max_hashes_per_spacy_token: float | None = None  # 0.1
    max_ellipses_per_spacy_token: float | None = None  # 0.1
    min_spacy_alphabetic_share: float | None = None  # 0.8
    min_spacy_stop_words: int | None = None  # 2
    # The same on the words that jieba cuts, for Chinese; FineWeb2 cmn_Hani (annotate/segment.py).
    min_jieba_mean_word_length: float | None = None  # 1
    max_jieba_mean_word_length: float | None = None  # 5
    min_jieba_alphabetic_share: float | None = None  # 0.735
    max_newlines_per_jieba_token: float | None = None  # 0.178
    max_jieba_top_2_gram_share: float | None = None  # 0.256
    max_jieba_top_3_gram_share: float | None = None  # 0.201
    max_jieba_top_4_gram_share: float | None = None  # 0.171
    max_jieba_duplicate_5_gram_share: float | None = None  # 0.198
    max_jieba_duplicate_6_gram_share: float | None = None  # 0.182
    max_jieba_duplicate_7_gram_share: float | None = None  # 0.167
    max_jieba_duplicate_8_gram_share: float | None = None  # 0.154
    max_jieba_duplicate_9_gram_share: float | None = None  # 0.14
    max_jieba_duplicate_10_gram_share: float | None = None  # 0.127
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
    max_url_characters: int | None = None  # of the canonical URL; documents without one pass
    max_url_digit_share: float | None = None  # digits among its characters
    max_url_path_segments: int | None = None
    max_url_query_fields: int | None = None
    # Scores of the recipe's models; languages without one pass.
    min_quality_score: float | None = None
    quality_score_pareto: int | None = None  # a: score s is kept with probability (2 - s)^-a; GPT-3: 9
    max_toxic_score: float | None = None
    # Words on the recipe's lists (annotate.word_lists).
    max_flagged_words: int | None = None  # C4: 0
    max_flagged_word_share: float | None = None  # of words; data-juicer's recipe for Common Crawl: 0.0015
    max_flagged_character_share: float | None = None  # of letters and digits: for Chinese
    max_distinct_flagged_words: int | None = None  # one word said often is a topic, many are a habit
    max_violence_words: int | None = None
    max_bias_words: int | None = None
    max_pornography_words: int | None = None
    max_offensive_words: int | None = None
