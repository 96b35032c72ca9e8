"""The step work/repeats: lines or paragraphs that occur before in the kept corpus are cut out, as edits.

Only kept documents take part: if all did, the one copy of a line that stays could stand in a document that is
dropped, and the line would be lost. Of all its occurrences the first stays, in order of validation documents
(what they hold is not trained on elsewhere), then dump, then text digest, id and place; repetitions inside a
document count too. A document that loses all of its text stays, and is counted.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.decide.edits import cut_spans, join_edits
from pipeline.decide.survivors import stands_for_itself
from pipeline.decide.thresholds import OVERLAP_RULE, cuts_questions
from pipeline.dedup.candidates import digest_words, scatter_blocks, spread
from pipeline.kernels.passages import find_passages
from pipeline.ledger import Count
from pipeline.parts import PartWriter, read_batches
from pipeline.phase import Job, Step, commit, fingerprint, is_done, need_rows, read_rows
from pipeline.timings import Timings

REASON = "repeated"
_VERSION = 2
_PASSAGE = np.dtype([("key", "<u8"), ("order", "<u8"), ("locator", "<u8"), ("start", "<u4"), ("end", "<u4")])
_CUT = np.dtype([("row", "<u4"), ("start", "<u4"), ("end", "<u4")])
_REPEATS = pa.schema([("edits", schema.EDITS)])
_EDITED = pa.schema([("edits", schema.EDITS), ("test_spans", schema.TEST_SPANS)])
# `order`, upper bit first: 1 trains or validates, 14 dump, 28 of the text digest, 21 of the id. The latter
# two are hashes: whatever their number of bits, they order documents alike however the corpus is cut into
# parts.
_TRAINS = np.uint64(1) << np.uint64(63)
_DUMP_SHIFT, _DIGEST_SHIFT, _ID_BITS = np.uint64(49), np.uint64(36), np.uint64(21)


def _keys(job: Job) -> Iterator[tuple[int, bytes]]:
    parts, decide = range(job.parts), job.recipe.decide
    contents = [row.content for step in ("documents", "decisions") for row in need_rows(job, step, parts)]
    dumps = [(source.name, source.dump) for source in job.recipe.sources]
    made_of = fingerprint(_VERSION, decide.repeated, decide.repeated_characters, dumps, contents)
    for part, row in enumerate(read_rows(job, "work/repeats", parts)):
        if not is_done(job, row, made_of):
            yield part, made_of.encode()


def _plan(job: Job) -> Iterator[tuple[int, bytes]]:
    if any(True for _ in _keys(job)):
        yield from ((part, b"") for part in range(job.parts))


def _scatter_passages(
    job: Job, part: int, payload: bytes, blocks: Iterable[bytes]
) -> Iterator[tuple[int, bytes]]:
    """The passages of a part's kept documents, to the partitions of their keys."""
    decide = job.recipe.decide
    dumps = {source.name: source.dump for source in job.recipe.sources}
    documents, decisions = (need_rows(job, step, [part])[0].file(step) for step in ("documents", "decisions"))
    start = schema.locator(part, 0)
    for batch, chosen in zip(
        read_batches(job.storage(), documents, columns=["id", "source", "text", "text_digest"]),
        read_batches(job.storage(), decisions, columns=["survivor", "validation"]),
        strict=True,
    ):
        survives = stands_for_itself(chosen["survivor"], start)
        rows = np.flatnonzero(survives)
        kept = batch.filter(pa.array(survives))
        held_out = chosen["validation"].to_numpy(zero_copy_only=False)[rows]
        dump = np.uint64(dumps[batch["source"][0].as_py()])
        order = np.where(held_out, np.uint64(0), _TRAINS) | dump << _DUMP_SHIFT
        order |= digest_words(kept["text_digest"])[:, 0] >> _DIGEST_SHIFT << _ID_BITS
        order |= digest_words(kept["id"])[:, 0] >> (np.uint64(64) - _ID_BITS)
        found = find_passages(kept["text"], unit=decide.repeated, least=decide.repeated_characters)
        passages = np.empty(len(found.key), _PASSAGE)
        passages["key"], passages["order"] = found.key, order[found.document]
        passages["locator"] = (rows.astype(np.uint64) + np.uint64(start))[found.document]
        passages["start"], passages["end"] = found.start, found.end
        yield from scatter_blocks(passages, spread(found.key, job.partitions))
        start += batch.num_rows


def later_passages(passages: np.ndarray) -> np.ndarray:
    """_PASSAGE rows of whole keys without the first of each key."""
    order = np.lexsort(tuple(passages[name] for name in ("start", "locator", "order", "key")))
    passages = passages[order]
    return passages[1:][passages["key"][1:] == passages["key"][:-1]]


def _scatter_cuts(job: Job, key: int, payload: bytes, blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """What is cut out, to the parts of its documents."""
    later = later_passages(np.frombuffer(b"".join(blocks), _PASSAGE))
    cuts = np.empty(len(later), _CUT)
    cuts["row"] = later["locator"] & np.uint64(0xFFFFFFFF)
    cuts["start"], cuts["end"] = later["start"], later["end"]
    yield from scatter_blocks(cuts, (later["locator"] >> np.uint64(32)).astype(np.int64))


def _finish(job: Job, part: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage = Timings(), job.storage()
    rows = need_rows(job, "documents", [part])[0].file("documents").rows
    with timings.stage("edits"):
        cuts = np.sort(np.frombuffer(b"".join(blocks), _CUT), order=["row", "start"])
        bounds = np.searchsorted(cuts["row"], np.arange(rows + 1))
        columns = [
            pa.array(cuts["start"]),
            pa.array(cuts["end"]),
            pa.array([""] * len(cuts), pa.string()),
            pa.array([REASON] * len(cuts), pa.string()),
        ]
        found = pa.StructArray.from_arrays(columns, fields=list(schema.EDITS.value_type))
        edits = pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), found, type=schema.EDITS)
    notes = {
        "passages": len(cuts),
        "documents": len(np.unique(cuts["row"])),
        "bytes": int((cuts["end"] - cuts["start"]).sum(dtype=np.int64)),
    }
    with storage.scratch() as scratch, timings.stage("write"):
        writer = PartWriter(scratch, "work/repeats", part, _REPEATS)
        writer.write(pa.record_batch([edits], schema=_REPEATS))
        files, made_of = [writer.finish()], payload.decode()
        commit(job, "work/repeats", part, made_of=made_of, files=files, count=Count(), notes=notes)
    timings.save(storage, "work/repeats", part)


def edits_of_part(job: Job, part: int) -> pa.ListArray:
    """All edits of a part's documents, sorted and without overlap."""
    file = need_rows(job, "measures", [part])[0].file("measures")
    batches = read_batches(job.storage(), file, columns=["edits", "test_spans"])
    table = pa.Table.from_batches(list(batches), _EDITED).combine_chunks()
    whole = table.to_batches()[0] if len(table) else pa.RecordBatch.from_pylist([], _EDITED)
    return all_edits(job, part, whole)


def all_edits(job: Job, part: int, measures: pa.RecordBatch, *, first: int = 0) -> pa.ListArray:
    """The edits of measures/ (edits, test_spans) for documents of a part, from row `first` on, those of this
    step, and test questions that are cut out: the only place where they meet.
    """
    edits = [measures["edits"]]
    if cuts_questions(job.recipe.decontaminate):
        edits.append(cut_spans(measures["test_spans"], OVERLAP_RULE))
    if job.recipe.decide.repeated != "none":
        file = need_rows(job, "work/repeats", [part])[0].file("work/repeats")
        chunks = [batch["edits"] for batch in read_batches(job.storage(), file)]
        whole = pa.concat_arrays(chunks) if chunks else pa.array([], schema.EDITS)
        edits.append(whole.slice(first, measures.num_rows))
    return join_edits(*edits) if len(edits) > 1 else edits[0]


REPEATS = Step("work/repeats", _plan, _finish, (_scatter_passages, _scatter_cuts), _keys)
