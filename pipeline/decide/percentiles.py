"""The step work/perplexity: how many documents have which perplexity, by source and language; and buckets.

CCNet (Wenzek et al. 2019) cuts the documents of a language into head, middle and tail at the 30th and 60th
percentile of their perplexity. A run counts its own percentiles: an exact histogram of integers, added up
from all parts, so that they are the same for any number of workers. Its bins are 1/1,000 of a decade wide
(0.23 % of a perplexity). The percentiles of a language are those of the documents of all sources whose rules
ask for buckets of it, whatever other rules say of them. A cut-off is the lowest edge of a bin below which at
least so many per cent of them lie.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Recipe
from pipeline.decide.thresholds import thresholds_for
from pipeline.ledger import Count
from pipeline.parts import PartWriter, read_batches
from pipeline.phase import Job, Step, commit, fingerprint, is_done, need_rows, read_row
from pipeline.rules import LOG_STEPS, log_steps
from pipeline.schema import LM_STEPS
from pipeline.storage import Storage
from pipeline.timings import Timings

_VERSION = 1
_STEP = "work/perplexity"
_BINS = 1_000  # of a decade
_ROW = np.dtype([("source", "<u2"), ("language", "<u2"), ("bin", "<u4"), ("documents", "<u8")])
_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("language", pa.string()),
        ("bin", pa.uint32()),  # of log10 of the perplexity, in 1/1,000
        ("documents", pa.uint64()),
    ]
)

Edges = Mapping[str, tuple[int, int]]  # language -> where head and middle end, log10 in LOG_STEPS


def count_bins(measures: pa.RecordBatch, source: int, languages: list[str]) -> np.ndarray:
    """_ROW of a batch of one source: its documents by language and perplexity."""
    number = {language: at for at, language in enumerate(languages)}
    of_row = np.array([number.get(language, -1) for language in measures["language"].to_pylist()], np.int64)
    cost, tokens = (measures[name].to_numpy().astype(np.int64) for name in ("lm_cost", "lm_tokens"))
    scored = (of_row >= 0) & (tokens > 0)
    bins = cost[scored] * _BINS // (tokens[scored] * LM_STEPS)
    keys, documents = np.unique(of_row[scored] << np.int64(32) | bins, return_counts=True)
    rows = np.zeros(len(keys), _ROW)
    rows["source"], rows["documents"] = source, documents
    rows["language"], rows["bin"] = keys >> np.int64(32), keys & np.int64(0xFFFFFFFF)
    return rows


def add_bins(rows: np.ndarray) -> np.ndarray:
    """_ROW with one row for each source, language and bin, sorted by them."""
    order = np.lexsort((rows["bin"], rows["language"], rows["source"]))
    rows = rows[order]
    same = rows[["source", "language", "bin"]]
    firsts = np.flatnonzero(np.append(True, same[1:] != same[:-1])[: len(rows)])
    added = rows[firsts].copy()
    added["documents"] = np.add.reduceat(rows["documents"], firsts) if len(rows) else 0
    return added


def cut_at(bins: np.ndarray, documents: np.ndarray, per_cent: int) -> int:
    """The lowest edge, in bins, below which at least `per_cent` of the documents lie."""
    order = np.argsort(bins, kind="stable")
    below = np.cumsum(documents[order].astype(np.int64))
    enough = np.flatnonzero(below * 100 >= int(below[-1]) * per_cent)
    return int(bins[order][enough[0]]) + 1


# --- the step -----------------------------------------------------------------------------------------------


def _made_of(job: Job) -> str | None:
    """The fingerprint of what has to be made; None if nothing has."""
    measures = [row.content for row in need_rows(job, "measures", range(job.parts))]
    sources = [source.name for source in job.recipe.sources]
    made_of = fingerprint(_VERSION, measures, sources, sorted(job.recipe.annotate.perplexity))
    return None if is_done(job, read_row(job, _STEP, 0), made_of) else made_of


def _plan(job: Job) -> Iterator[tuple[int, bytes]]:
    if _made_of(job):
        yield from ((part, b"") for part in range(job.parts))


def _keys(job: Job) -> Iterator[tuple[int, bytes]]:
    if made_of := _made_of(job):
        yield 0, made_of.encode()


def _scatter(job: Job, part: int, payload: bytes, blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The bins of a part."""
    names = [source.name for source in job.recipe.sources]
    languages = sorted(job.recipe.annotate.perplexity)
    files = [need_rows(job, step, [part])[0].file(step) for step in ("documents", "measures")]
    columns = (["source"], ["language", "lm_cost", "lm_tokens"])
    batches = (read_batches(job.storage(), f, columns=c) for f, c in zip(files, columns, strict=True))
    found = [
        count_bins(measures, names.index(documents["source"][0].as_py()), languages)
        for documents, measures in zip(*batches, strict=True)
        if documents.num_rows
    ]
    if found:
        yield 0, add_bins(np.concatenate(found)).tobytes()


def _finish(job: Job, number: int, payload: bytes, blocks: Iterable[bytes]) -> None:
    timings, storage = Timings(), job.storage()
    names = [source.name for source in job.recipe.sources]
    languages = sorted(job.recipe.annotate.perplexity)
    with timings.stage("percentiles"):
        rows = add_bins(np.frombuffer(b"".join(blocks), _ROW))
    with storage.scratch() as scratch, timings.stage("write"):
        writer = PartWriter(scratch, _STEP, 0, _SCHEMA)
        columns = [
            pa.array([names[at] for at in rows["source"]], pa.string()),
            pa.array([languages[at] for at in rows["language"]], pa.string()),
            pa.array(rows["bin"]),
            pa.array(rows["documents"]),
        ]
        writer.write(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
        commit(job, _STEP, 0, made_of=payload.decode(), files=[writer.finish()], count=Count())
    timings.save(storage, _STEP, 0)


PERPLEXITY = Step(_STEP, _plan, _finish, (_scatter,), _keys)


# --- what the recipe makes of it ----------------------------------------------------------------------------


def bucket_edges(job: Job) -> Edges:
    """Where buckets end, by language, for every language of which a rule wants buckets and there is anything
    to cut; of a recipe that was changed since the run, too.
    """
    recipe = job.recipe
    if not recipe.annotate.perplexity or not _bucketed(recipe):
        return {}
    name = need_rows(job, _STEP, [0])[0].file(_STEP).name
    return _edges(job.output, name, _bucketed(recipe), recipe.decide.perplexity.percentiles) | {
        language: (log_steps(head), log_steps(middle))
        for language, (head, middle) in recipe.decide.perplexity.cut_offs.items()
    }


def _bucketed(recipe: Recipe) -> tuple[tuple[str, str], ...]:
    """(source, language) of the documents that rules want buckets of."""
    table = recipe.decide.thresholds
    return tuple(
        (source.name, language)
        for source in recipe.sources
        for language in sorted(recipe.annotate.perplexity)
        if thresholds_for(table, source.kind, language).buckets is not None
    )


@lru_cache(maxsize=8)
def _edges(
    output: str, name: str, wanted: tuple[tuple[str, str], ...], percentiles: tuple[int, ...]
) -> dict[str, tuple[int, int]]:
    bins = _read_bins(output, name)
    edges = {}
    for language in sorted({language for _, language in wanted}):
        chosen = [values for key, values in bins.items() if key in wanted and key[1] == language]
        if chosen:
            joined = [np.concatenate(column) for column in zip(*chosen, strict=True)]
            head, middle = (
                cut_at(joined[0], joined[1], per_cent) * LOG_STEPS // _BINS for per_cent in percentiles
            )
            edges[language] = head, middle
    return edges


@lru_cache(maxsize=8)
def _read_bins(output: str, name: str) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """(bins, documents) by source and language."""
    with Storage.open(output).open_input(name) as source:
        table = pq.read_table(source, use_threads=False)
    keys = list(zip(table["source"].to_pylist(), table["language"].to_pylist(), strict=True))
    bins, documents = table["bin"].to_numpy(), table["documents"].to_numpy()
    firsts = [at for at, key in enumerate(keys) if not at or key != keys[at - 1]]
    bounds = [*firsts, len(keys)]
    return {keys[a]: (bins[a:b], documents[a:b]) for a, b in pairwise(bounds) if b > a}


def describe_perplexity(job: Job) -> list[dict[str, Any]]:
    """By language: its model, the documents that it scored, the quartiles of their perplexity (edges of
    bins), and the cut-offs of the buckets, if rules want any; JSON-able.
    """
    if not job.recipe.annotate.perplexity:
        return []
    bins = _read_bins(job.output, need_rows(job, _STEP, [0])[0].file(_STEP).name)
    edges = bucket_edges(job)
    told = []
    for language, model in sorted(job.recipe.annotate.perplexity.items()):
        chosen = [values for key, values in bins.items() if key[1] == language]
        joined = [np.concatenate(column) for column in zip(*chosen, strict=True)]
        quartiles = [cut_at(joined[0], joined[1], share) / _BINS for share in (25, 50, 75)] if joined else []
        told.append(
            {
                "language": language,
                "model": model,
                "sha256": job.hashes[model],
                "documents": int(joined[1].sum()) if joined else 0,
                "quartiles": [round(10**decades, 1) for decades in quartiles],
                "cut_offs": [round(10 ** (edge / LOG_STEPS), 1) for edge in edges.get(language, ())],
                "given": language in job.recipe.decide.perplexity.cut_offs,
            }
        )
    return told
