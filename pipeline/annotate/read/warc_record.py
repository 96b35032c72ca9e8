"""What a WARC record means to a corpus: a page, ready text, or nothing (with the reason)."""

import re

from pipeline.annotate.read.framing import Fields, Frame, target_url
from pipeline.annotate.read.records import Media, Outcome, Record, Skipped

_EXPECTED = ("record_type", "revisit", "segmented_record", "empty_member")
_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([\w.:+-]+)""", re.IGNORECASE)
_HTML_TYPES = (b"text/html", b"application/xhtml+xml")


def to_outcome(frame: Frame, *, span: int, offset: int, length: int, index: int) -> Outcome:
    """The record of a sound frame if it is a page or text, else a skip."""
    fields = frame.fields
    url = target_url(fields)
    media, reason = (None, frame.reason) if frame.reason else _judge(fields, frame.body)
    if media == "text" and not _is_utf8(frame.body):
        media, reason = None, "not_utf8"
    if media is None:
        quarantine = reason not in _EXPECTED
        return Skipped(
            span, offset, length, index, reason, frame.body if quarantine else b"", url, quarantine
        )
    date = fields.get(b"warc-date", b"").decode("ascii", "replace")
    return Record(span, offset, length, index, media, frame.body, url, date, "", _charset(fields, media))


def _judge(fields: Fields, body: bytes) -> tuple[Media | None, str]:
    kind = fields.get(b"warc-type", b"").lower()
    content_type = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind == b"revisit":
        return None, "revisit"
    if kind == b"continuation" or b"warc-segment-number" in fields:
        return None, "segmented_record"
    if kind == b"response" and (content_type == b"application/http" or body.startswith(b"HTTP/")):
        return "http", ""
    if kind in (b"resource", b"conversion") and content_type in _HTML_TYPES:
        return "html", ""
    if kind == b"conversion" and content_type == b"text/plain":
        return "text", ""
    return None, "record_type"


def _charset(fields: Fields, media: Media) -> str:
    """The charset of an HTML resource; that of a response stands in its own headers, text is UTF-8."""
    found = _CHARSET.search(fields.get(b"content-type", b"")) if media == "html" else None
    return found.group(1).decode("ascii", "replace").lower() if found else ""


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
