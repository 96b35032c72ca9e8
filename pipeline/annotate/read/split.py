"""One split read: its spans in order, each by the reader of its format."""

from collections.abc import Iterator, Sequence

from pipeline.annotate.read.jsonl import read_jsonl
from pipeline.annotate.read.pages import read_document
from pipeline.annotate.read.parquet import read_parquet
from pipeline.annotate.read.records import Outcome, SpanAccount
from pipeline.annotate.read.rendering import FieldNames
from pipeline.annotate.read.warc import read_warc
from pipeline.annotate.read.window import Window, open_window
from pipeline.annotate.splits import FORMATS, Span


def read_split(
    spans: Sequence[Span],
    *,
    format: str,
    fields: FieldNames,
    max_record_bytes: int,
    max_ratio: int,
    account: SpanAccount,
) -> Iterator[Outcome]:
    """The records and skips of a split, in an order that depends on the bytes alone.

    `fields` are the names in a table (JSONL, Parquet), by role: text, messages and roles (rendering.py), id,
    url, date, licence. max_record_bytes caps one decoded record, max_ratio what a compressed member may
    expand to (beyond 1 MiB). UnreadableSplit if a file cannot be read as planned.
    """
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}, must be one of {', '.join(FORMATS)}")
    for number, span in enumerate(spans):
        with open_window(span) as window:
            for outcome in _read_span(
                window, number, span, format, fields, max_record_bytes, max_ratio, account
            ):
                account.count(outcome)
                yield outcome


def _read_span(
    window: Window,
    number: int,
    span: Span,
    format: str,
    fields: FieldNames,
    max_record_bytes: int,
    max_ratio: int,
    account: SpanAccount,
) -> Iterator[Outcome]:
    if format == "warc":
        return read_warc(
            window,
            span=number,
            start=span.start,
            end=span.end,
            max_record_bytes=max_record_bytes,
            max_ratio=max_ratio,
            account=account,
        )
    if format in ("html", "text"):
        media = "html" if format == "html" else "text"
        return read_document(
            window, span=number, media=media, max_record_bytes=max_record_bytes, account=account
        )
    read_table = read_jsonl if format == "jsonl" else read_parquet
    return read_table(
        window,
        span=number,
        start=span.start,
        end=span.end,
        fields=fields,
        max_record_bytes=max_record_bytes,
        max_ratio=max_ratio,
        account=account,
    )
