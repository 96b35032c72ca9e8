"""Folders in which one file is one document: HTML pages as they were saved, or plain text.

A file is read whole, so max_record_bytes bounds the memory. Text must be UTF-8, or UTF-16 with a byte order
mark: which other encoding a file without any markup has would be a guess.
"""

import codecs
from collections.abc import Iterator
from typing import Literal

from pipeline.annotate.read.records import RAW_BYTES, Outcome, Record, Skipped, SpanAccount
from pipeline.annotate.read.window import Window


def read_document(
    window: Window, *, span: int, media: Literal["html", "text"], max_record_bytes: int, account: SpanAccount
) -> Iterator[Outcome]:
    """The one document of the file: HTML as raw bytes, text as UTF-8 without byte order mark."""
    size = window.size
    account.spanned += size
    content: bytes | None = window.at(0, size if size <= max_record_bytes else RAW_BYTES)
    account.covered += len(content) if size <= max_record_bytes else size
    if size > max_record_bytes:
        yield Skipped(span, 0, size, 0, "record_too_large", content[:RAW_BYTES], "", True)
        return
    payload = _to_utf8(content) if media == "text" else content
    if payload is None:
        yield Skipped(span, 0, size, 0, "not_utf8", content[:RAW_BYTES], "", True)
        return
    yield Record(span, 0, size, 0, media, payload, "", "", "", "")


def _to_utf8(content: bytes) -> bytes | None:
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig").encode()
    except UnicodeDecodeError:
        return None
