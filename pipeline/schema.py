"""Every column of every part: name, type, meaning with unit, and the stage that writes it.

Counts are integers; a ratio is stored as its two counts and compared exactly. A model's score is an integer
number of steps (the step is named here), so that a value stored on one machine equals the value compared on
another. `documents/`, `measures/`, `work/signatures/`, `clusters/` and `decisions/` of a part are
row-aligned: row i is one document in all.
"""

from dataclasses import dataclass

import pyarrow as pa

SCORE_STEPS = 10_000  # a score of 1.0 is stored as 10,000


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `stage` is the module that fills it."""

    name: str
    type: pa.DataType
    meaning: str
    stage: str


ID = pa.binary(16)
EDITS = pa.list_(
    pa.struct(
        [("start", pa.uint32()), ("end", pa.uint32()), ("replacement", pa.string()), ("reason", pa.string())]
    )
)

TEST_SPANS = pa.list_(pa.struct([("start", pa.uint32()), ("end", pa.uint32()), ("set", pa.uint16())]))

DOCUMENTS = (
    Column(
        "id", ID, "blake2b-128 of source, path in the source and offset (or the source's own id)", "digests"
    ),
    Column("source", pa.string(), "name of the source in the recipe", "read"),
    Column("path", pa.string(), "input file, relative to the root of its source", "read"),
    Column(
        "offset",
        pa.uint64(),
        "byte at which the record's container starts in the file; row number in Parquet",
        "read",
    ),
    Column("length", pa.uint64(), "bytes of the container in the file; 0 for Parquet rows", "read"),
    Column(
        "index",
        pa.uint32(),
        "position inside the container: a line of a .jsonl.gz, a record of one gzip member",
        "read",
    ),
    Column("url", pa.string(), "as the record gives it, or empty", "read"),
    Column("date", pa.string(), "ISO 8601 as the record gives it, or empty", "read"),
    Column(
        "licence",
        pa.string(),
        "as the record gives it; empty where that of its source stands (decide/provenance.py)",
        "read",
    ),
    Column("charset", pa.string(), "the charset that the page was decoded with", "charset"),
    Column("title", pa.string(), "title of the page, or empty", "extract"),
    Column("text", pa.string(), "main text, normalised; never rewritten afterwards", "extract"),
    Column("text_digest", ID, "blake2b-128 of the folded text (letters and digits, lower case)", "digests"),
    Column("url_digest", ID, "blake2b-128 of the canonical URL; null without a URL", "digests"),
)

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
# Counts that are made for the sources whose rules ask for them; null elsewhere.
MEASURE_GROUPS = {
    "dolma": DOLMA_COUNTS,
    "dclm": DCLM_COUNTS,
    "c4": C4_COUNTS,
    "chinese": CHINESE_COUNTS,
    "code": CODE_COUNTS,
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

LANGUAGES = (
    Column("language", pa.string(), "code of the most likely language, as the model labels it", "language"),
    Column("language_score", pa.uint16(), "its probability in steps of 1/10,000", "language"),
    *(Column(name, pa.uint32(), meaning, "language") for name, meaning in PARAGRAPH_COUNTS.items()),
)

MEASURES = (
    *LANGUAGES,
    *(Column(name, pa.uint32(), meaning, "measure") for name, meaning in TEXT_COUNTS.items()),
    *(Column(name, pa.uint32(), meaning, "measure") for name, meaning in SCRIPT_COUNTS.items()),
    Column("edits", EDITS, "what to replace in the text: bytes from start to end, and why", "personal_data"),
    Column("test_hits", pa.uint32(), "n-grams that stand in evaluation sets too", "decontaminate"),
    Column(
        "test_spans",
        TEST_SPANS,
        "bytes from start to end that stand in the evaluation set of that number in the recipe",
        "decontaminate",
    ),
)


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema; meanings stand in the field metadata, so that they travel with the files."""
    return pa.schema(
        [pa.field(c.name, c.type, metadata={"meaning": c.meaning, "stage": c.stage}) for c in columns]
    )


QUARANTINE = (
    Column("source", pa.string(), "name of the source", "read"),
    Column("path", pa.string(), "input file, relative to the root of its source", "read"),
    Column("offset", pa.uint64(), "as in documents", "read"),
    Column("length", pa.uint64(), "as in documents", "read"),
    Column("index", pa.uint32(), "as in documents", "read"),
    Column("url", pa.string(), "as in documents", "read"),
    Column("stage", pa.string(), "the stage that set the record aside", "read"),
    Column("reason", pa.string(), "why, as in the ledger", "read"),
    Column("detail", pa.string(), "what the exception said, at most 200 characters", "extract"),
    Column("media", pa.string(), "what `raw` is: http, html, text, or record for container bytes", "read"),
    Column(
        "raw", pa.binary(), "the bytes as they came, at most 1 MiB for container damage, for replay", "read"
    ),
)

SIGNATURE_FIELD = "signature"


def signatures_schema(permutations: int) -> pa.Schema:
    """work/signatures: minima of `permutations` hash functions over shingles, which say nothing where the
    document is not `signed`, because it is shorter than a shingle (`short`) or has nothing at all (a null
    could not be read back: pyarrow refuses Parquet's nulls in lists of fixed size); whether only the
    beginning was signed (`capped`); the digest of the folded text.
    """
    return pa.schema(
        [
            (SIGNATURE_FIELD, pa.list_(pa.uint32(), permutations)),
            ("signed", pa.bool_()),
            ("short", pa.bool_()),
            ("capped", pa.bool_()),
            ("fold_digest", ID),
        ]
    )


def planted_schema(permutations: int) -> pa.Schema:
    """work/planted: edited copies of sampled documents; `row` is that of the original in its part."""
    return pa.schema(
        [
            ("row", pa.uint32()),
            ("level", pa.uint8()),  # which similarity was aimed at
            (
                "jaccard_ppm",
                pa.uint32(),
            ),  # of the shingle sets of original and copy
            (SIGNATURE_FIELD, pa.list_(pa.uint32(), permutations)),
            ("digest", ID),  # of the copy's folded text
            ("shingles", pa.list_(pa.uint32())),  # sorted distinct shingle hashes of the copy
        ]
    )


# work/overlaps: each n-gram of a document that an evaluation set has too; `row` of the document in its part.
OVERLAPS = pa.schema([("row", pa.uint32()), ("key", pa.uint64())])

CLUSTERS = (
    Column(
        "cluster",
        pa.uint64(),
        "smallest locator (part << 32 | row) in the document's cluster; its own if alone",
        "components",
    ),
    Column("cluster_size", pa.uint32(), "documents in the cluster", "components"),
)

DECISIONS = (
    Column("kept", pa.bool_(), "true if the document goes into training or validation rows", "decide"),
    Column("reason", pa.string(), "the first failing rule, or duplicate; empty if kept", "thresholds"),
    Column(
        "failing", pa.list_(pa.string()), "all failing rules, in the order of the recipe's keys", "thresholds"
    ),
    Column("cluster_id", ID, "smallest document id in the cluster", "survivors"),
    Column(
        "survivor",
        pa.uint64(),
        "locator of the document that stands for the cluster (parts of earlier runs come behind this run's); "
        "null if none passed",
        "survivors",
    ),
    Column(
        "survivor_by",
        pa.string(),
        "the first survivor key in which it beat the next best member that passed; text_digest or id after a "
        "tie, only if there was none; empty if alone",
        "survivors",
    ),
    Column(
        "validation", pa.bool_(), "true if the cluster is held out (one copy, validation shards)", "survivors"
    ),
    Column(
        "partners",
        pa.list_(ID),
        "cluster ids of the earlier runs' clusters that are part of this one, at most 16",
        "survivors",
    ),
)

NEAR_EDGES = pa.schema([("a", pa.uint64()), ("b", pa.uint64())])
GROUPS = pa.schema(
    [
        ("group", pa.uint64()),
        ("home", pa.uint64()),
        ("rank", pa.uint32()),
        ("digest", pa.uint64()),
        ("locator", pa.uint64()),
    ]
)
FOLLOWED = pa.schema([("original", pa.uint64()), ("leader", pa.uint64())])
INDEX = pa.schema([("key", ID), ("locator", pa.uint64())])
LABELS = pa.schema([("locator", pa.uint64()), ("cluster", pa.uint64()), ("cluster_size", pa.uint32())])
ENCODED = pa.schema(
    [
        ("row", pa.uint32()),
        ("id", ID),
        ("validation", pa.bool_()),
        ("factor", pa.uint16()),  # of the source's repeats, by cluster size (decide.rehydrate)
        ("language", pa.string()),  # the mixture may repeat the languages of a source differently
        ("tokens", pa.list_(pa.int32())),
    ]
)


def locator(part: int, row: int) -> int:
    """Where a document is: part in the upper 32 bits, row in the lower."""
    return part << 32 | row
