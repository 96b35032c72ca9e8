"""What is set aside: records that did not become documents, with their raw bytes, for a look and for replay.

A damaged record is kept whole (of a damaged container at most its first MiB); of what a gate stops, a keyed
sample. What only tells what a record is (`ONLY_COUNTED`) leaves nothing but its count. Rows wait here until
they are written, which has to be before they hold much more than a batch of documents.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline import schema
from pipeline.annotate.read.records import Record, Skipped
from pipeline.annotate.splits import Span
from pipeline.config import Source

# Reasons by stage that tell what a record is, not that it is damaged.
ONLY_COUNTED: Mapping[str, frozenset[str]] = {
    "read": frozenset(
        ("record_type", "revisit", "segmented_record") + ("empty_member", "skippable_frame", "blank_line")
    ),
    "text": frozenset(("http_status", "not_html")),
}
_SCHEMA = schema.arrow_schema(schema.QUARANTINE)


class Quarantine:
    """Rows of QUARANTINE of one split that wait to be written; `bytes` are those of their raw content."""

    def __init__(self, source: Source, spans: Sequence[Span]) -> None:
        self._source, self._spans = source, spans
        self._rows: list[dict[str, Any]] = []
        self.bytes = 0
        self.sampled: Counter[str] = Counter()  # documents that a gate stopped and that are kept, by reason

    def keep_skipped(self, skipped: Skipped) -> None:
        """What a reader passed over."""
        self._keep(skipped, stage="read", reason=skipped.reason, detail="", media="record", raw=skipped.raw)

    def keep_record(self, record: Record, reason: str, *, detail: str) -> None:
        """A record that did not become text."""
        self._keep(record, stage="text", reason=reason, detail=detail, media=record.media, raw=record.payload)

    def keep_documents(self, documents: pa.RecordBatch, reason: str) -> None:
        """Documents (columns of DOCUMENTS) out of what a gate stopped."""
        self.sampled[reason] += documents.num_rows
        places = documents.select(["source", "path", "offset", "length", "index", "url"]).to_pylist()
        for place, text in zip(places, documents["text"].to_pylist(), strict=True):
            self._add(place, stage="gate", reason=reason, detail="", media="text", raw=text.encode())

    def take(self) -> pa.RecordBatch:
        """The rows that wait, as one batch; they wait no longer."""
        rows, self._rows, self.bytes = self._rows, [], 0
        return pa.RecordBatch.from_pylist(rows, schema=_SCHEMA)

    def _keep(self, record: Record | Skipped, **why: Any) -> None:
        place = {
            "source": self._source.name,
            "path": self._spans[record.span].path,
            "offset": record.offset,
            "length": record.length,
            "index": record.index,
            "url": record.url,
        }
        self._add(place, **why)

    def _add(
        self, place: dict[str, Any], *, stage: str, reason: str, detail: str, media: str, raw: bytes
    ) -> None:
        why = {"stage": stage, "reason": reason, "detail": detail, "media": media}
        self._rows.append({**place, **why, "raw": raw})
        self.bytes += len(raw)
