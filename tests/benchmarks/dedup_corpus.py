"""documents/ of a run over generated text, as Annotate would leave them, without the time that it takes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from generated_text import generate_files

from pipeline import schema
from pipeline.annotate.derived import MADE_OF, MEASURES
from pipeline.annotate.digests import document_ids, text_digests
from pipeline.annotate.phase import documents_made_of
from pipeline.annotate.splits import split_from_bytes
from pipeline.ledger import Count
from pipeline.parts import PartWriter
from pipeline.phase import commit
from pipeline.plan import make_plan, save_plan
from pipeline.recipe_file import recipe_from_tree
from pipeline.storage import Storage

_BATCH = 1_000  # documents per row group


def write_documents(folder: Path, language: str, size: int) -> int:
    """Writes plan, documents/ and measures/ of `size` bytes of text into FOLDER/out; returns the bytes."""
    inputs = folder / "in"
    inputs.mkdir()
    texts = generate_files(language, size)
    written = count = 0
    scratch = folder / "scratch"
    scratch.mkdir()
    made = []
    for number, text in enumerate(texts):
        (inputs / f"{number:05d}.txt").write_text(f"{number:01100d}")  # stands for the input: one split each
        made.append((number, *_write_part(scratch, language, number, text)))
        written += text.nbytes
        count += 1
    source = {"name": "text", "kind": "books", "format": "text", "paths": [f"{inputs}/*.txt"]}
    recipe = recipe_from_tree({"name": "dedup", "sources": [source], "annotate": {"split_bytes": 1024}})
    storage = Storage.open(str(folder / "out"))
    plan = make_plan(recipe, storage)
    save_plan(plan, storage)
    job = plan.job(str(folder / "out"), accept_missing=False)
    if job.parts != count:
        raise RuntimeError(f"{count} files became {job.parts} parts")
    for number, documents, measures in made:
        _, spans = split_from_bytes(plan.splits[number])
        made_of = documents_made_of(job, job.recipe.sources[0], spans)
        row = commit(job, "documents", number, made_of=made_of, files=[documents], count=Count())
        made_of = MADE_OF[MEASURES](job, job.recipe.sources[0], row)
        commit(job, MEASURES, number, made_of=made_of, files=[measures], count=Count())
    return written


def _write_part(scratch: Path, language: str, number: int, text: pa.LargeStringArray):
    documents = PartWriter(scratch, "documents", number, schema.arrow_schema(schema.DOCUMENTS))
    measures = PartWriter(scratch, "measures", number, schema.arrow_schema(schema.MEASURES))
    for start in range(0, len(text), _BATCH):
        batch = text.slice(start, _BATCH).cast(pa.string())
        rows = len(batch)
        places = pa.array(np.arange(start, start + rows), pa.uint64())
        paths, empty = pa.array([f"{number:05d}.txt"] * rows), pa.array([""] * rows)
        given = {
            "id": document_ids("text", paths, offsets=places, indexes=places, source_ids=empty),
            "source": pa.array(["text"] * rows),
            "path": paths,
            "text": batch,
            "text_digest": text_digests(batch),
            "language": pa.array([language] * rows),
            "edits": pa.array([[]] * rows, schema.EDITS),
        }
        for writer, columns in ((documents, schema.DOCUMENTS), (measures, schema.MEASURES)):
            wanted = schema.arrow_schema(columns)
            arrays = [given[f.name] if f.name in given else _zeros(f.type, rows) for f in wanted]
            writer.write(pa.RecordBatch.from_arrays(arrays, schema=wanted))
    return documents.finish(), measures.finish()


def _zeros(kind: pa.DataType, rows: int) -> pa.Array:
    if pa.types.is_fixed_size_binary(kind):
        return pa.nulls(rows, kind)
    return pa.array(["" if pa.types.is_string(kind) else 0] * rows, kind)
