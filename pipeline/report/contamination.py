"""Test questions in a run's documents: the figures of MANIFEST.json, and the matches of one document."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import schema
from pipeline.annotate.decontaminate import HASH_NAME, EvaluationIndex, examples_of, open_index
from pipeline.annotate.derived import OVERLAPS
from pipeline.decide.edits import apply_edits, cut_spans, join_edits, merge_edits
from pipeline.decide.thresholds import OVERLAP_RULE, cuts_questions
from pipeline.parts import PartFile, read_batches
from pipeline.phase import Job, Row, load_plan, need_rows

_MOST_NAMED = 20  # examples of a set in the manifest
_SHOWN_EXAMPLES = 5  # of a set that one document has, by n-grams
_SHOWN_SPANS = 10


def describe_contamination(job: Job, rows: Mapping[str, Sequence[Row]]) -> dict[str, Any] | None:
    """What was found of every evaluation set, and what became of the documents; None without sets.

    `documents_dropped` counts those whose first reason it is. `most_hit` names the examples that most
    documents have, at most 20: where they are many, the example is boilerplate rather than leaked.
    """
    if HASH_NAME not in job.hashes:
        return None
    index = open_index(job.output, job.hashes[HASH_NAME])
    sets, recipe = len(index.set_ngrams), job.recipe.decontaminate
    told = dict.fromkeys(("checked", "documents", "dropped", "cut", "cut_bytes"), 0)
    hit, dropped = np.zeros(sets, np.int64), np.zeros(sets, np.int64)
    of_example = np.zeros(len(index.set_of), np.int64)
    keys = [np.zeros(0, np.uint64)]
    for part, measures in enumerate(rows["measures"]):
        if "overlaps" not in measures.notes:
            continue
        told["checked"] += measures.file("measures").rows
        found = _read_overlaps(job, measures)
        if not found.num_rows:
            continue
        at, of_keys = found["row"].to_numpy().astype(np.int64), found["key"].to_numpy()
        keys.append(np.unique(of_keys))
        which, examples = examples_of(index, of_keys)
        here = np.unique(at)
        reasons, kept = _decided(job, rows["decisions"][part].file("decisions"))
        gone = reasons == OVERLAP_RULE
        told["documents"] += len(here)
        told["dropped"] += int(gone[here].sum())
        pairs = np.unique(np.stack([at[which], examples], axis=1), axis=0)
        of_example += np.bincount(pairs[:, 1], minlength=len(of_example))
        pairs = np.unique(np.stack([pairs[:, 0], index.set_of[pairs[:, 1]]], axis=1), axis=0)
        hit += np.bincount(pairs[:, 1], minlength=sets)
        dropped += np.bincount(pairs[gone[pairs[:, 0]], 1], minlength=sets)
        if cuts_questions(recipe):
            told["cut"] += int(kept[here].sum())
            told["cut_bytes"] += _cut_bytes(job, measures.file("measures"), kept)
    which, examples = examples_of(index, np.unique(np.concatenate(keys)))
    ngrams = np.unique(np.stack([which, index.set_of[examples]], axis=1), axis=0)[:, 1]
    ngrams_hit = np.bincount(ngrams, minlength=sets)
    files = _files(job)
    described = [
        {
            "name": of_set.name,
            "files": [{name: file[name] for name in ("path", "bytes", "identity")} for file in files[number]],
            "examples": int(np.count_nonzero(index.set_of == number)),
            "too_short": int(index.set_short[number]),
            "ngrams": int(index.set_ngrams[number]),
            "ngrams_hit": int(ngrams_hit[number]),
            "documents_hit": int(hit[number]),
            "documents_dropped": int(dropped[number]),
            "examples_hit": int(np.count_nonzero(of_example[index.set_of == number])),
            "most_hit": _most_hit(index, number, of_example, files[number]),
        }
        for number, of_set in enumerate(recipe.sets)
    ]
    return {"action": recipe.action, "index_ngrams": len(index.ngrams.keys), **told, "sets": described}


def explain_overlaps(
    job: Job, part: int, row: int, text: pa.Array, measures: pa.RecordBatch
) -> list[dict[str, Any]]:
    """By set: the n-grams that a document shares with it, their text (personal data masked) and examples.

    `text` and `measures` are those of the document alone. Nothing is opened for a document without matches.
    """
    if not measures["test_hits"][0].as_py():
        return []
    index = open_index(job.output, job.hashes[HASH_NAME])
    found = _read_overlaps(job, need_rows(job, "measures", [part])[0])
    keys = found["key"].to_numpy()[found["row"].to_numpy() == row]
    which, examples = examples_of(index, keys)
    files, spans = _files(job), measures["test_spans"].to_pylist()[0]
    explained = []
    for number in np.unique(index.set_of[examples]).tolist():
        ours = index.set_of[examples] == number
        named, counts = np.unique(examples[ours], return_counts=True)
        order = np.lexsort((named, -counts))[:_SHOWN_EXAMPLES]
        explained.append(
            {
                "set": job.recipe.decontaminate.sets[number].name,
                "ngrams": len(np.unique(which[ours])),
                "examples": [
                    {**_place(index, example, files[number]), "ngrams": count}
                    for example, count in zip(named[order].tolist(), counts[order].tolist(), strict=True)
                ],
                "spans": [
                    {"start": span["start"], "end": span["end"], "text": _masked(text, measures, span)}
                    for span in [span for span in spans if span["set"] == number][:_SHOWN_SPANS]
                ],
            }
        )
    return explained


def _masked(text: pa.Array, measures: pa.RecordBatch, span: Mapping[str, int]) -> str:
    """What a span reads with the edits of measures: the text around it is cut off, too, as an edit would."""
    size = len(text[0].as_py().encode())
    around = [{"start": 0, "end": span["start"]}, {"start": span["end"], "end": size}]
    inside = [
        {**edit, "start": max(edit["start"], span["start"]), "end": min(edit["end"], span["end"])}
        for edit in measures["edits"].to_pylist()[0]
        if edit["start"] < span["end"] and edit["end"] > span["start"]
    ]
    outside = cut_spans(pa.array([around], pa.list_(pa.struct(_SPAN))), "")
    edits = join_edits(outside, pa.array([inside], measures["edits"].type))
    return apply_edits(text, edits)[0].as_py()


_SPAN = [("start", pa.uint32()), ("end", pa.uint32())]


def _most_hit(
    index: EvaluationIndex, number: int, of_example: np.ndarray, files: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    ours = np.flatnonzero((index.set_of == number) & (of_example > 0))
    first = ours[np.argsort(-of_example[ours], kind="stable")][:_MOST_NAMED]
    return [{**_place(index, example, files), "documents": int(of_example[example])} for example in first]


def _place(index: EvaluationIndex, example: int, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"file": files[index.file_of[example]]["path"], "line": int(index.line_of[example])}


def _files(job: Job) -> list[list[dict[str, Any]]]:
    """The files of every set, as the plan lists them."""
    planned = load_plan(job.storage())["evaluation"]
    return [
        [file for file in planned if file["set"] == of_set.name] for of_set in job.recipe.decontaminate.sets
    ]


def _read_overlaps(job: Job, measures: Row) -> pa.Table:
    file = measures.file(OVERLAPS)
    return pa.Table.from_batches(list(read_batches(job.storage(), file)), schema.OVERLAPS)


def _decided(job: Job, file: PartFile) -> tuple[np.ndarray, np.ndarray]:
    """(reason, kept) of every document of a part."""
    table = pa.Table.from_batches(list(read_batches(job.storage(), file, columns=["reason", "kept"])))
    return np.asarray(table["reason"].to_pylist(), object), table["kept"].to_numpy()


def _cut_bytes(job: Job, file: PartFile, kept: np.ndarray) -> int:
    """Bytes of kept documents that are cut out, each once."""
    table = pa.Table.from_batches(list(read_batches(job.storage(), file, columns=["test_spans"])))
    spans = table["test_spans"].combine_chunks().filter(pa.array(kept))
    edits = merge_edits(cut_spans(spans, OVERLAP_RULE)).flatten()
    lengths = edits.field("end").to_numpy().astype(np.int64) - edits.field("start").to_numpy()
    return int(lengths.sum())
