"""The Annotate phase: one split in, a part of documents, measures and signatures out, row by row aligned.

The three have fingerprints of their own: a changed language model rewrites measures, a changed shingle size
rewrites signatures, and neither reads a page again. Everything that touches raw bytes runs in the sandbox.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from importlib.metadata import version
from pathlib import Path

import orjson

from pipeline import schema
from pipeline.annotate.charset_model import CHARSET_MODEL
from pipeline.annotate.derived import MADE_OF, MEASURES, DerivedWriters, load_kernels
from pipeline.annotate.extract.engines import MAIN_TEXT, NEVER
from pipeline.annotate.quarantine import Quarantine
from pipeline.annotate.read.records import UnreadableSplit
from pipeline.annotate.split import TASK_VERSION, SplitResult, identify_again, lend_sandbox, read_documents
from pipeline.annotate.splits import Span, split_from_bytes
from pipeline.annotate.urls import SUFFIXES
from pipeline.config import Source
from pipeline.ledger import IN, OUT, Count
from pipeline.parts import PartWriter, read_batches
from pipeline.phase import (
    Job,
    Row,
    Step,
    commit,
    fingerprint,
    is_done,
    load_plan,
    read_row,
    read_rows,
    row_name,
    write_row,
)
from pipeline.storage import Storage
from pipeline.timings import Timings

_UNREADABLE = "unreadable"  # the fingerprint of a part that stands for a split that could not be read

DOCUMENTS_SCHEMA = schema.arrow_schema(schema.DOCUMENTS)


def documents_made_of(job: Job, source: Source, spans: Sequence[Span]) -> str:
    """The fingerprint of a part of documents/."""
    annotate, gate = job.recipe.annotate, job.recipe.annotate.gate
    limits = (annotate.max_record_bytes, annotate.max_page_bytes, annotate.max_ratio)
    sandbox = (annotate.cpu_seconds, annotate.memory_bytes)
    engine = _engine_made_of(job) if source.format in ("warc", "html") else ()
    gated = (gate, job.recipe.seed, job.hashes[annotate.language_model] if gate.languages else "")
    read = (
        source.name,
        source.format,
        source.fields,
        [(span.path, span.start, span.end, span.identity) for span in spans],
    )
    tables = (job.hashes[CHARSET_MODEL.stem], job.hashes[SUFFIXES])
    return fingerprint(TASK_VERSION, read, limits, sandbox, tables, engine, gated)


def _engine_made_of(job: Job) -> tuple[object, ...]:
    """What decides how a page is read: the engine's version or model, and what reads doubtful pages."""
    annotate = job.recipe.annotate
    if annotate.engine != MAIN_TEXT:
        return annotate.engine, version(annotate.engine)
    falls_back = annotate.fallback_doubt < NEVER
    return (
        annotate.engine,
        job.hashes[MAIN_TEXT],
        (annotate.fallback_doubt, version("trafilatura")) if falls_back else (),
    )


def _plan(job: Job) -> Iterator[tuple[int, bytes]]:
    """Splits of which anything is missing, largest first: dealt out in turn, they keep workers equally long
    busy.

    A part that only changed its number (an input was added) is not made again.
    """
    yield from sorted(_left(job), key=lambda work: (-_size(work[1]), work[0]))


def _size(split: bytes) -> int:
    return sum(span.end - span.start for span in split_from_bytes(split)[1])


def _left(job: Job) -> Iterator[tuple[int, bytes]]:
    splits = _splits(job.storage())
    rows = {step: read_rows(job, step, range(len(splits))) for step in ("documents", *MADE_OF)}

    @cache
    def made_before() -> dict[str, Row]:  # asked for only if something is not done
        return {row.fingerprint: row for step in rows for row in _all_rows(job, step)}

    for part, split in enumerate(splits):
        name, spans = split_from_bytes(split)
        source = next(source for source in job.recipe.sources if source.name == name)
        wanted = documents_made_of(job, source, spans)
        documents = _adopt(job, rows["documents"][part], part, wanted, made_before)
        if documents is None:
            yield part, split
            continue
        derived = [
            _adopt(job, rows[step][part], part, made_of(job, source, documents), made_before)
            for step, made_of in MADE_OF.items()
        ]
        if None in derived:
            yield part, split


def _splits(storage: Storage) -> list[bytes]:
    return [orjson.dumps(split) for split in load_plan(storage)["splits"]]


def _all_rows(job: Job, step: str) -> Iterator[Row]:
    """Rows of a step under any number; a stale listing only costs work."""
    names = [name for name in job.storage().names(step) if name.endswith(".json")]
    for row in read_rows(job, step, [int(Path(name).stem.removeprefix("part-")) for name in names]):
        if row is not None:
            yield row


def _adopt(
    job: Job, row: Row | None, part: int, wanted: str, made_before: Callable[[], dict[str, Row]]
) -> Row | None:
    """The part's row if it is done, or that of an equal part under another number, which is then named here
    too.
    """
    if is_done(job, row, wanted):
        return row
    other = made_before().get(wanted)
    if other is None or not is_done(job, other, wanted):
        return None
    adopted = Row(other.step, part, other.fingerprint, other.files, other.ledger, other.notes)
    write_row(job, adopted)
    return adopted


def _finish(job: Job, part: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    name, spans = split_from_bytes(payload)
    source = next(source for source in job.recipe.sources if source.name == name)
    documents = read_row(job, "documents", part)
    if documents is not None and is_done(job, documents, documents_made_of(job, source, spans)):
        _derive_again(job, part, source, documents)
        return
    try:
        _annotate(job, part, source, spans)
        job.storage().delete(unreadable_name(part))
    except UnreadableSplit as unreadable:
        if job.accept_missing:
            _commit_missing(job, part, source, spans)
        else:
            job.storage().put_bytes(unreadable_name(part), str(unreadable).encode())
            job.storage().delete(row_name("documents", part))  # an older one: nothing may be built on it


def unreadable_name(part: int) -> str:
    """Where the reason of an unreadable split is left."""
    return f"work/unreadable/part-{part:05d}.txt"


def find_missing(job: Job) -> Iterator[str]:
    """Why a split has no part of what it holds now, for every such split that is not accepted as missing."""
    for part, _ in _plan(job):
        row = read_row(job, "documents", part)
        if not (job.accept_missing and row is not None and row.fingerprint == _UNREADABLE):
            why = job.storage().read_bytes(unreadable_name(part))
            yield why.decode(errors="replace") if why else f"split {part} is not annotated yet"


def _annotate(job: Job, part: int, source: Source, spans: Sequence[Span]) -> None:
    """Reads a split and commits its three parts."""
    storage, annotate = job.storage(), job.recipe.annotate
    result = SplitResult(Quarantine(source, spans))
    with ExitStack() as stack:
        scratch = stack.enter_context(storage.scratch())
        with result.timings.stage("start"):
            load_kernels()
            sandbox = stack.enter_context(lend_sandbox(annotate, job.hashes[annotate.language_model]))
        documents, quarantine = (
            PartWriter(scratch, "documents", part, DOCUMENTS_SCHEMA),
            PartWriter(scratch, "quarantine", part, schema.arrow_schema(schema.QUARANTINE)),
        )
        derived = DerivedWriters(job, source, part, scratch)
        for batch in read_documents(source, spans, annotate, sandbox, job.recipe.seed, result):
            with result.timings.stage("write"):
                documents.write(batch.select(DOCUMENTS_SCHEMA.names))
                quarantine.write(result.quarantine.take())
            derived.write(batch, result.timings)
        result.count.add("splits", IN)
        result.count.add("splits", OUT)
        made_of = documents_made_of(job, source, spans)
        with result.timings.stage("write"):
            quarantine.write(result.quarantine.take())
            files = [documents.finish(), quarantine.finish()]
        notes = {"sampled": dict(sorted(result.quarantine.sampled.items()))}
        row = commit(job, "documents", part, made_of=made_of, files=files, count=result.count, notes=notes)
        derived.commit(row, result.timings)
    result.timings.save(storage, "documents", part)


def _derive_again(job: Job, part: int, source: Source, documents: Row) -> None:
    """What is missing of measures and signatures, from stored text, without reading a page again."""
    timings, storage, annotate = Timings(), job.storage(), job.recipe.annotate
    made_of = {step: of_step(job, source, documents) for step, of_step in MADE_OF.items()}
    steps = [step for step in MADE_OF if not is_done(job, read_row(job, step, part), made_of[step])]
    with ExitStack() as stack:
        derived = DerivedWriters(job, source, part, stack.enter_context(storage.scratch()), steps)
        batches = read_batches(
            storage, documents.file("documents"), columns=["id", "url", "text", "text_digest"]
        )
        if MEASURES in steps:
            sandbox = stack.enter_context(lend_sandbox(annotate, job.hashes[annotate.language_model]))
            batches = (identify_again(batch, sandbox, timings) for batch in batches)
        for batch in batches:
            derived.write(batch, timings)
        derived.commit(documents, timings)
    for step in steps:
        timings.save(storage, step, part)


def _commit_missing(job: Job, part: int, source: Source, spans: Sequence[Span]) -> None:
    """An empty part for a split that cannot be read, if the user accepts that; the next run reads it."""
    count = Count()
    count.add("splits", IN)
    count.add("splits", "unreadable", bytes=sum(span.end - span.start for span in spans))
    with job.storage().scratch() as scratch:
        files = [
            PartWriter(scratch, "documents", part, DOCUMENTS_SCHEMA).finish(),
            PartWriter(scratch, "quarantine", part, schema.arrow_schema(schema.QUARANTINE)).finish(),
        ]
        row = commit(job, "documents", part, made_of=_UNREADABLE, files=files, count=count)
        DerivedWriters(job, source, part, scratch).commit(row, Timings())


DOCUMENTS = Step("documents", _plan, _finish)
