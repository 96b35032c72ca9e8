"""What a reader gives: a record, or a skip with its reason. Nothing of a file leaves a reader in any other
way.

The `length` fields of everything that is read from one span add up to the bytes that the span owns (Parquet,
whose rows have no byte range, is accounted by row group). A container that holds several records gives its
length to the last of them, because that is when its end is known.
"""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import orjson

Media = Literal["http", "html", "text"]

RAW_BYTES = 1 << 20  # of a damaged container, kept for replay

REASONS = MappingProxyType(
    {
        # expected: counted, nothing kept
        "record_type": "a WARC record that holds no page: request, warcinfo, metadata, DNS, an image",
        "revisit": "a WARC record that only points to an earlier capture",
        "segmented_record": "one segment of a WARC record that was cut into several",
        "empty_member": "a compressed member, or the rest of a file, that holds nothing but line ends",
        "skippable_frame": "a zstd frame for other readers: dictionary, seek table, padding",
        "blank_line": "a line of JSONL without any content",
        # damage: what was read is kept for replay
        "bad_record_header": "a WARC header without end or without a usable Content-Length",
        "bad_length": "no record begins where the Content-Length says that this one ends",
        "truncated_record": "the file or member ends before the record does",
        "truncated_gzip": "the file ends inside a gzip member",
        "bad_gzip": "a gzip member that does not inflate, or whose checksum is wrong",
        "truncated_zstd": "the file ends inside a zstd frame",
        "bad_zstd": "a zstd frame that does not decompress, or needs a dictionary that is not there",
        "unparsed_bytes": "bytes between records that are no record",
        "record_too_large": "longer than max_record_bytes",
        "ratio_cap": "expands more than max_ratio times: a decompression bomb",
        "bad_json": "a line that is not one JSON object in UTF-8",
        "missing_text": "the text field, or one of several, is absent or not a string",
        "bad_messages": "the messages field is absent or no list of messages with a role and a string each",
        "not_utf8": "text that claims to be ready but is not UTF-8",
        "bad_parquet": "a Parquet file or row group that does not decode",
    }
)


class UnreadableSplit(Exception):
    """A file that the storage does not give as the plan saw it: the split fails, others go on."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)  # both, so that the exception survives pickling between workers
        self.path = path
        self.why = why

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


@dataclass(frozen=True, slots=True)
class Record:
    """One page or document as its source holds it."""

    span: int  # index of the span inside the split
    offset: int  # bytes, where the container starts in the file; in Parquet the row number in the file
    length: int  # bytes of the container, 0 on all but the last record of a container and in Parquet
    index: int  # position inside the container
    media: Media  # http: raw response with its headers; html: raw bytes of a page; text: UTF-8, ready
    payload: bytes
    url: str  # "" if unknown, like the four below
    date: str  # as declared
    source_id: str  # the source's own id field
    charset: str  # declared outside the payload
    licence: str = ""  # the record's own, in tables that have a field for it


@dataclass(frozen=True, slots=True)
class Skipped:
    """Everything that is not a Record."""

    span: int
    offset: int
    length: int
    index: int
    reason: str  # a key of REASONS
    raw: bytes  # at most RAW_BYTES of the container, or of the line or record in it; b"" if not quarantined
    url: str
    quarantine: bool  # True: damage, kept for replay; False: expected, only counted


Outcome = Record | Skipped


def as_licence(value: object) -> str:
    """What a table says of a record's licence, "" if nothing. What is no string (a list of several) stays
    something of its own, its JSON: it must not pass for a record that says nothing.
    """
    if isinstance(value, str):
        return value.strip()
    return "" if value is None else orjson.dumps(value, default=str).decode()


@dataclass(slots=True)
class SpanAccount:
    """The reader's side of the ledger for one split: when reading ends, spanned == covered."""

    spanned: int = 0  # bytes that the spans own, known from where their first and last containers start
    covered: int = 0  # bytes of the containers that were read or skipped
    records: int = 0
    skipped: dict[str, int] = field(default_factory=dict)  # reason -> count

    def count(self, outcome: Outcome) -> None:
        """Adds one outcome to the counts (not to the bytes)."""
        if isinstance(outcome, Record):
            self.records += 1
        else:
            self.skipped[outcome.reason] = self.skipped.get(outcome.reason, 0) + 1
