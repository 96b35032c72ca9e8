"""The integer counts of a text, by name and meaning: what rules compare. All are uint32 columns of measures/.

Each belongs to the kernel that makes it, where the terms are defined.
"""

# Integer counts of a text, all uint32, made in one pass by pipeline/kernels/text.py (where terms are
# defined).
TEXT_COUNTS = {
    "characters": "code points",
    "bytes": "bytes of UTF-8",
    "words": "words (Gopher: word count)",
    "word_characters": "characters of all words; by `words`, Gopher's mean word length",
    "alphabetic_words": "words with at least one letter (Gopher)",
    "stop_words": "how many of the 8 English stop words occur, each counted once, in any case (Gopher)",
    "stop_words_zh": "how many of the 22 Chinese stop characters occur, each once (FineWeb2 cmn_Hani)",
    "hash_symbols": "number signs # (Gopher: symbol-to-word ratio)",
    "ellipses": "… and ..., which do not overlap: ...... are two, .... is one (Gopher, as datatrove counts)",
    "lines": "lines with something on them",
    "bullet_lines": "lines that begin with one of unicode_classes.BULLETS (Gopher)",
    "ellipsis_lines": "lines that end with … or ... (Gopher)",
    "punctuated_lines": "lines that end with one of unicode_classes.TERMINALS (FineWeb: line_punct_ratio)",
    "short_lines": "lines of at most 30 characters (FineWeb: short_line_ratio)",
    "duplicate_lines": "repeated lines (Gopher: duplicate line fraction)",
    "duplicate_line_characters": "characters in repeated lines (Gopher; FineWeb: char_dup_ratio)",
    "paragraphs": "runs of lines without a blank line between them",
    "duplicate_paragraphs": "repeated paragraphs (Gopher)",
    "duplicate_paragraph_characters": "characters in repeated paragraphs (Gopher)",
    "digit_characters": "decimal digits of any script (category Nd)",
    "alphabetic_characters": "letters of any script (category L)",
    "whitespace_characters": "characters of the White_Space property, newlines among them",
    "han_characters": "Han ideographs (ChineseWebText: share of Chinese characters)",
    "uppercase_characters": "upper-case letters (category Lu; DCLM: uppercase ratio)",
    "newlines": "\\n characters (FineWeb: by words, list_ratio)",
    "longest_line_characters": "characters of the longest line",
    "max_word_characters": "characters of the longest word (C4: 1,000)",
    "stop_word_occurrences": "how often one of the 8 English stop words occurs (Gopher, as DCLM counts)",
    **{
        f"top_{n}_gram_characters": f"characters of the most frequent {n} words in a row, all occurrences"
        for n in (2, 3, 4)
    },
    **{
        f"duplicate_{n}_gram_characters": f"characters in repeated runs of {n} words (Gopher, as datatrove)"
        for n in (5, 6, 7, 8, 9, 10)
    },
    "copied_lines": "lines that come again, each once (DCLM and dolma count them as duplicates, too)",
    "copied_line_characters": "characters of those",
    "copied_paragraphs": "paragraphs that come again, each once",
    "copied_paragraph_characters": "characters of those",
    "paragraph_characters": "characters of all paragraphs, with the newlines inside them",
    "ended_lines": "lines that end with one of unicode_classes.SENTENCE_ENDS (datatrove: line_punct_ratio)",
}

_TOPS, _DUPLICATES = (2, 3, 4), (5, 6, 7, 8, 9, 10)
DOLMA_COUNTS = {
    **{f"dolma_top_{n}_gram_characters": f"as top_{n}_gram_characters, without spaces" for n in _TOPS},
    **{
        f"dolma_duplicate_{n}_gram_characters": f"characters of all occurrences of repeated runs of {n} words"
        for n in _DUPLICATES
    },
    **{f"dolma_{n}_gram_characters": f"characters of all runs of {n} words" for n in _DUPLICATES},
}
DCLM_COUNTS = {
    **{f"dclm_top_{n}_gram_characters": f"of the longest of the most frequent {n}-grams" for n in _TOPS},
    **{
        f"dclm_duplicate_{n}_gram_characters": f"characters of words in repeated runs of {n}, each word once"
        for n in _DUPLICATES
    },
}
C4_COUNTS = {
    **{f"c4_{form}_lines": "lines that C4 keeps" for form in ("tfds", "datatrove", "fineweb")},
    **{f"c4_{form}_sentences": "sentences in them" for form in ("tfds", "datatrove", "fineweb")},
    **{f"c4_{form}_ended": "lines for which the page goes" for form in ("tfds", "datatrove", "fineweb")},
    "long_lines": "lines of at least 200 characters (mC4)",
}
CHINESE_COUNTS = {
    "sentences": "runs of the marks 。！？!?… and ． at the end of a sentence (MAP-NEO)",
    "bracket_characters": "characters inside of 【】 (MAP-NEO)",
    "more_lines": "lines that end with 展开, 更多, readmore or 。。。 (MAP-NEO)",
    "distinct_characters": "different characters, white space apart (MAP-NEO)",
    "character_entropy": "entropy of those characters in 1/1,000 nats (MAP-NEO)",
    "repeated_13_grams": "runs of 13 characters that occur again, all occurrences (ChineseWebText)",
    "thirteen_grams": "runs of 13 characters",
}
CODE_COUNTS = {
    "generated_marks": "marks of generated files in the first 5 lines (BigCode)",
    "data_characters": "characters in long runs of base64, hexadecimal bytes or escapes (StarCoder2)",
    "xml_headers": "1 if <?xml version= is among the first 100 characters (StarCoder)",
}
SPACY_COUNTS = {
    "spacy_tokens": "tokens of spaCy's English tokenizer, marks among them (datatrove)",
    "spacy_alphabetic_tokens": "those with a letter",
    "spacy_words": "those that are more than marks",
    "spacy_word_characters": "characters of those",
    "spacy_stop_words": "how many of the 8 English stop words are among them, in small letters",
}
JIEBA_COUNTS = {
    "jieba_tokens": "words as jieba cuts Chinese, marks among them (FineWeb2)",
    "jieba_alphabetic_tokens": "those with a letter or Han character",
    "jieba_words": "those that are more than marks",
    "jieba_word_characters": "characters of those",
    **{f"jieba_top_{n}_gram_characters": f"as top_{n}_gram_characters, of those words" for n in _TOPS},
    **{f"jieba_duplicate_{n}_gram_characters": f"as duplicate_{n}_gram_characters" for n in _DUPLICATES},
}
# Scores: probabilities in steps of schema.SCORE_STEPS, and that many steps where there is a model for the
# language, else 0: the share of nothing, which fails no rule. By annotate/score_models.py.
WORD_CATEGORIES = ("violence", "bias", "pornography", "offensive")
QUALITY_COUNTS = {
    "quality_score": "probability of good text in steps of 1/10,000",
    "quality_steps": "10,000, or 0 where no model judges the language",
}
TOXICITY_COUNTS = {
    "toxic_score": "probability of offensive text in steps of 1/10,000",
    "toxic_steps": "10,000, or 0 where no model judges the language",
}
FLAGGED_COUNTS = {
    "flagged_words": "words and phrases on the lists for the language, the longest of those that overlap",
    "flagged_characters": "letters and digits of those",
    "distinct_flagged_words": "how many different ones",
    **{f"{category}_words": f"those on the list of {category}" for category in WORD_CATEGORIES},
}
# Of the canonical URL (annotate/urls.py); 0 without a URL.
URL_COUNTS = {
    "url_characters": "characters of the canonical URL",
    "url_digits": "digits in it",
    "url_path_segments": "parts of its path that are not empty",
    "url_query_fields": "fields of its query",
}
# Counts that are made for the sources whose rules ask for them; null elsewhere.
MEASURE_GROUPS = {
    "spacy": SPACY_COUNTS,
    "jieba": JIEBA_COUNTS,
    "dolma": DOLMA_COUNTS,
    "dclm": DCLM_COUNTS,
    "c4": C4_COUNTS,
    "chinese": CHINESE_COUNTS,
    "code": CODE_COUNTS,
    "quality": QUALITY_COUNTS,
    "toxicity": TOXICITY_COUNTS,
    "flagged": FLAGGED_COUNTS,
    "url": URL_COUNTS,
}

# Letters by script, and Han characters by variety of Chinese, all uint32; pipeline/kernels/scripts.py has the
# definitions.
SCRIPT_COUNTS = {
    "kana_characters": "letters of hiragana and katakana",
    "hangul_characters": "letters of hangul",
    "latin_characters": "Latin letters",
    "cyrillic_characters": "Cyrillic letters",
    "arabic_characters": "Arabic letters",
    "simplified_characters": "Han characters that only simplified Chinese writes",
    "traditional_characters": "Han characters that only traditional Chinese writes",
    "cantonese_characters": "Han characters that written Cantonese uses and Mandarin hardly does",
    "variety_characters": "simplified_characters + traditional_characters: what shares of a variety are of",
}

# Languages of single paragraphs, uint32; all 0 unless annotate.paragraph_languages is on.
PARAGRAPH_COUNTS = {
    "paragraph_language_characters": "characters of judged paragraphs in the language of the document",
    "judged_paragraph_characters": "characters of judged paragraphs: of 50 or more, at most 100 of them",
}
