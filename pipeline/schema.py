"""Every column of every part: name, type, meaning with unit, and the stage that writes it.

Counts are integers; a ratio is stored as its two counts and compared exactly. A model's score is an integer
number of steps (the step is named here), so that a value stored on one machine equals the value compared on
another. `documents/`, `measures/`, `work/signatures/`, `clusters/` and `decisions/` of a part are
row-aligned: row i is one document in all.
"""

from dataclasses import dataclass

import pyarrow as pa

from pipeline.counts import MEASURE_GROUPS, PARAGRAPH_COUNTS, SCRIPT_COUNTS, TEXT_COUNTS

SCORE_STEPS = 10_000  # a score of 1.0 is stored as 10,000
LM_STEPS = 4_000  # a probability of 1/10 costs 4,000


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
    Column("canonical_url", pa.string(), "the form that is compared (digests.py), or empty", "urls"),
    Column("registered_domain", pa.string(), "public suffix and a label more, or the host, or empty", "urls"),
    Column("date", pa.string(), "ISO 8601 as the record gives it, or empty", "read"),
    Column(
        "licence",
        pa.string(),
        "as the record gives it; empty where that of its source stands (decide/provenance.py)",
        "read",
    ),
    Column(
        "charset",
        pa.string(),
        "the charset that the page was decoded with; `utf-8 as windows-1252` where UTF-8 was encoded twice",
        "charset",
    ),
    Column("title", pa.string(), "title of the page, or empty", "extract"),
    Column("author", pa.string(), "names that the page declares, joined by `; `, or empty", "declared"),
    Column("published", pa.string(), "ISO 8601 day that the page declares, or empty", "declared"),
    Column("declared_language", pa.string(), "tag of <html lang> or a header, or empty", "declared"),
    Column("text", pa.string(), "main text, normalised; never rewritten afterwards", "extract"),
    Column("text_digest", ID, "blake2b-128 of the folded text (letters and digits, lower case)", "digests"),
    Column("url_digest", ID, "blake2b-128 of the canonical URL; null without a URL", "digests"),
)

LANGUAGES = (
    Column("language", pa.string(), "code of the most likely language, as the model labels it", "language"),
    Column("language_score", pa.uint16(), "its probability in steps of 1/10,000", "language"),
    *(Column(name, pa.uint32(), meaning, "language") for name, meaning in PARAGRAPH_COUNTS.items()),
)

MEASURES = (
    *LANGUAGES,
    *(Column(name, pa.uint32(), meaning, "measure") for name, meaning in TEXT_COUNTS.items()),
    *(Column(name, pa.uint32(), meaning, "measure") for name, meaning in SCRIPT_COUNTS.items()),
    *(
        Column(name, pa.uint32(), f"{meaning}; null where no rule asks for it", "measure")
        for counts in MEASURE_GROUPS.values()
        for name, meaning in counts.items()
    ),
    Column(
        "lm_cost",
        pa.uint64(),
        "-log10 of the text's probability to the language model, in 1/4,000; 0 without",
        "perplexity",
    ),
    Column("lm_tokens", pa.uint32(), "words that it predicted, ends of lines among them", "perplexity"),
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
