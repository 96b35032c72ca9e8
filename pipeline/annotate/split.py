"""One split, read and turned into batches of documents: read → sandbox (decode, extract, normalise, language)
→ gate.

Records go to the sandbox in groups and come back as one Arrow batch per group; whatever does not become a
document is counted under its reason, and kept in quarantine with its raw bytes where it was damaged.
"""

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import schema
from pipeline.annotate.digests import document_ids, text_digests, url_digests
from pipeline.annotate.language import find_language_model
from pipeline.annotate.quarantine import ONLY_COUNTED, Quarantine
from pipeline.annotate.read.records import Record, Skipped, SpanAccount
from pipeline.annotate.read.split import read_split
from pipeline.annotate.splits import Span
from pipeline.annotate.urls import canonical_urls, registered_domains
from pipeline.config import Annotate, Source
from pipeline.kernels.keyed import keyed_u64
from pipeline.ledger import IN, OUT, Count
from pipeline.sandbox import Failure, Limits, Sandbox
from pipeline.timings import Timings

TASK = "pipeline.annotate.page:open_task"
TASK_VERSION = 4  # raise it when the same page gives another text or language
_GROUP_RECORDS, _GROUP_BYTES = 64, 2 << 20  # one trip to the sandbox
_BATCH_DOCUMENTS, _BATCH_BYTES = 2000, 4 << 20  # one batch of documents, a row group on disk
_MILLIONTHS = 1_000_000

_LANGUAGES = schema.arrow_schema(schema.LANGUAGES)
_DECLARED = ("title", "author", "published", "declared_language")
_TEXT_COLUMNS = ("charset", *_DECLARED, "text", *_LANGUAGES.names)
# Sandboxes that wait for work; appended to and popped from by the threads of this process (both are atomic).
_idle: list[tuple[object, Sandbox]] = []


@dataclass(slots=True)
class SplitResult:
    """What reading a split leaves beside its documents; filled while `read_documents` runs."""

    quarantine: Quarantine
    count: Count = field(default_factory=Count)
    timings: Timings = field(default_factory=Timings)


@contextmanager
def lend_sandbox(annotate: Annotate, model_sha256: str) -> Iterator[Sandbox]:
    """A sandbox with these settings for one piece of work; it stays open for the next one."""
    settings = orjson.dumps(
        {
            "engine": annotate.engine,
            "fallback_doubt": annotate.fallback_doubt,
            "max_page_bytes": annotate.max_page_bytes,
            "max_ratio": annotate.max_ratio,
            "language_model": str(find_language_model(annotate.language_model)),
            "language_model_sha256": model_sha256,
            "paragraph_languages": annotate.paragraph_languages,
        }
    )
    limits = Limits(cpu_seconds=annotate.cpu_seconds, memory_bytes=annotate.memory_bytes)
    key = (TASK, settings, limits)
    while True:
        try:
            known, sandbox = _idle.pop()
        except IndexError:
            sandbox = Sandbox(TASK, settings, limits=limits)
            break
        if known == key:
            break
        sandbox.close()
    try:
        yield sandbox
    finally:
        _idle.append((key, sandbox))


@atexit.register
def close_sandboxes() -> None:
    """Ends the children that wait for work."""
    while _idle:
        _idle.pop()[1].close()


def frame(media: str, url: str, charset: str, payload: bytes) -> bytes:
    """One record as the sandbox takes it: length of the header, JSON header, payload."""
    header = orjson.dumps({"media": media, "url": url, "charset": charset})
    return len(header).to_bytes(4, "little") + header + payload


def read_documents(
    source: Source,
    spans: Sequence[Span],
    annotate: Annotate,
    sandbox: Sandbox,
    seed: int,
    result: SplitResult,
) -> Iterator[pa.RecordBatch]:
    """Batches with the columns of DOCUMENTS and, from the sandbox, LANGUAGES."""
    account = SpanAccount()
    records = read_split(
        spans,
        format=source.format,
        fields=asdict(source.fields),
        max_record_bytes=annotate.max_record_bytes,
        max_ratio=annotate.max_ratio,
        account=account,
    )
    pending: list[pa.RecordBatch] = []
    for group in _groups(result.timings.each("read", records), result):
        batch = _to_text(group, source, spans, sandbox, result)
        with result.timings.stage("gate"):
            batch = _pass_gate(batch, annotate, seed, result)
        pending.append(batch)
        if _is_full(pending) or result.quarantine.bytes >= _BATCH_BYTES:
            yield _joined(pending)
            pending = []
    if pending:
        yield _joined(pending)
    result.count.add("input bytes", IN, account.spanned)
    result.count.add("input bytes", OUT, account.covered)


def identify_again(batch: pa.RecordBatch, sandbox: Sandbox, timings: Timings) -> pa.RecordBatch:
    """A batch of stored documents with LANGUAGES, which are identified again."""
    languages: list[pa.RecordBatch] = []
    for start in range(0, batch.num_rows, _GROUP_RECORDS):
        texts = batch["text"].slice(start, _GROUP_RECORDS).to_pylist()
        with timings.stage("sandbox"):
            answers = sandbox.run([frame("text", "", "", text.encode()) for text in texts])
        for _, answer in answers:
            if isinstance(answer, Failure):
                raise RuntimeError(f"the language model failed on a stored text: {answer.reason}")
            with pa.ipc.open_stream(answer) as reader:
                languages.append(reader.read_next_batch().select(_LANGUAGES.names))
    found = pa.concat_batches(languages)
    names = [*batch.schema.names, *found.schema.names]
    return pa.RecordBatch.from_arrays([*batch.columns, *found.columns], names=names)


def _is_full(batches: list[pa.RecordBatch]) -> bool:
    return (
        sum(batch.num_rows for batch in batches) >= _BATCH_DOCUMENTS
        or sum(batch.nbytes for batch in batches) >= _BATCH_BYTES
    )


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.concat_batches(batches)


def _groups(records: Iterator[Record | Skipped], result: SplitResult) -> Iterator[list[Record]]:
    """Groups of records for the sandbox; what is no record is counted on the way, and fills a group too."""
    group: list[Record] = []
    size = 0
    for record in records:
        result.count.add("read", IN, bytes=record.length)
        if isinstance(record, Skipped):
            result.count.add("read", record.reason, bytes=record.length)
            if record.quarantine:
                result.quarantine.keep_skipped(record)
                size += len(record.raw)
        else:
            result.count.add("read", OUT, bytes=record.length)
            group.append(record)
            size += len(record.payload)
        if len(group) >= _GROUP_RECORDS or size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _to_text(
    group: list[Record], source: Source, spans: Sequence[Span], sandbox: Sandbox, result: SplitResult
) -> pa.RecordBatch:
    """The documents of a group, in order; records that did not become text are counted and set aside."""
    frames = [frame(record.media, record.url, record.charset, record.payload) for record in group]
    with result.timings.stage("sandbox"):
        answers = sandbox.run(frames)
    result.count.add("text", IN, len(frames))
    kept: list[Record] = []
    columns: list[pa.RecordBatch] = []
    for where, answer in answers:
        if isinstance(answer, Failure):
            assert isinstance(where, int)
            result.count.add("text", answer.reason)
            result.quarantine.keep_record(group[where], answer.reason, detail=answer.detail)
            continue
        assert not isinstance(where, int)
        with pa.ipc.open_stream(answer) as reader:
            batch = reader.read_next_batch()
        for stage, nanoseconds in (batch.schema.metadata or {}).items():
            result.timings.add(stage.decode(), int(nanoseconds))
            result.timings.add("sandbox", -int(nanoseconds))  # what is left is the cost of the trip
        fine = []
        for row, (reason, detail) in enumerate(
            zip(batch["reason"].to_pylist(), batch["detail"].to_pylist(), strict=True)
        ):
            record = group[where[row]]
            if not reason:
                fine.append(row)
                kept.append(record)
                continue
            result.count.add("text", reason)
            if reason not in ONLY_COUNTED["text"]:
                result.quarantine.keep_record(record, reason, detail=detail)
        columns.append(batch.select(_TEXT_COLUMNS).take(pa.array(fine, pa.int64())))
    result.count.add("text", OUT, len(kept))
    with result.timings.stage("digests"):
        return _assemble(kept, columns, source, spans)


def _assemble(
    records: list[Record], columns: list[pa.RecordBatch], source: Source, spans: Sequence[Span]
) -> pa.RecordBatch:
    """DOCUMENTS (and language) columns of records whose texts stand in `columns`, in order."""
    if not records:
        return _EMPTY
    texts = pa.concat_batches(columns)
    paths = pa.array([spans[record.span].path for record in records], pa.string())
    offsets = pa.array([record.offset for record in records], pa.uint64())
    indexes = pa.array([record.index for record in records], pa.uint32())
    source_ids = pa.array([record.source_id for record in records], pa.string())
    urls = pa.array([record.url for record in records], pa.string())
    arrays = {
        "id": document_ids(source.name, paths, offsets=offsets, indexes=indexes, source_ids=source_ids),
        "source": pa.array([source.name] * len(records), pa.string()),
        "path": paths,
        "offset": offsets,
        "length": pa.array([record.length for record in records], pa.uint64()),
        "index": indexes,
        "url": urls,
        "canonical_url": canonical_urls(urls),
        "registered_domain": registered_domains(urls),
        "date": pa.array([record.date for record in records], pa.string()),
        "licence": pa.array([record.licence for record in records], pa.string()),
        **{name: texts[name] for name in _TEXT_COLUMNS},
        "text_digest": text_digests(texts["text"]),
        "url_digest": url_digests(urls),
    }
    return pa.RecordBatch.from_arrays([arrays[field.name] for field in _EMPTY.schema], schema=_EMPTY.schema)


_EMPTY = pa.RecordBatch.from_pylist(
    [],
    schema=pa.schema([*schema.arrow_schema(schema.DOCUMENTS), *_LANGUAGES]),
)


def _pass_gate(batch: pa.RecordBatch, annotate: Annotate, seed: int, result: SplitResult) -> pa.RecordBatch:
    """The documents that pass the recipe's gate; of the others a keyed sample is kept in quarantine."""
    gate = annotate.gate
    rows = batch.num_rows
    result.count.add("gate", IN, rows)
    lengths = pc.call_function("utf8_length", [batch["text"]]).to_numpy()
    short = lengths < gate.min_characters
    languages = np.asarray(batch["language"].to_pylist(), object)
    foreign = ~np.isin(languages, gate.languages) if gate.languages else np.zeros(rows, bool)
    for reason, stopped in (("gate_short", short), ("gate_language", foreign & ~short)):
        if stopped.any():
            result.count.add("gate", reason, int(stopped.sum()))
            gone = batch.filter(pa.array(stopped))
            draw = keyed_u64(gone["id"], seed=seed, tag="gate sample") % np.uint64(_MILLIONTHS)
            sampled = gone.filter(pa.array(draw < np.uint64(round(gate.sample * _MILLIONTHS))))
            result.quarantine.keep_documents(sampled, reason)
    passed = batch.filter(pa.array(~(short | foreign)))
    result.count.add("gate", OUT, passed.num_rows)
    return passed
