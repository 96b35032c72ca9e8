"""MANIFEST.json and manifest.parquet: what went in, what was decided, what came out, and the digest of all of
it.

The content digest covers what the corpus says (ids, text, measures, clusters, decisions, token rows), not how
files were written; sha256 of every file stands in manifest.parquet. Nothing in either depends on the clock,
the machine's paths or the number of workers.
"""

import platform
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.decide.percentiles import describe_perplexity
from pipeline.decide.takedowns import has_takedowns, read_requests
from pipeline.kernels.jit import TARGET
from pipeline.pack.encode import load_vocabulary
from pipeline.pack.phase import SPLITS, shard_name
from pipeline.pack.taken import taken_copies
from pipeline.parts import file_sha256
from pipeline.phase import Job, Row, fingerprint, load_plan
from pipeline.recipe_file import recipe_to_tree
from pipeline.report.audit import Audit
from pipeline.report.contamination import describe_contamination
from pipeline.report.duplicates import describe_duplicates
from pipeline.report.mixture import describe_mixture, repeats_of_source

FORMAT = 1
_DIGESTED = ("documents", "measures", "clusters", "decisions", "work/shards")
_LIBRARIES = (
    "apache-beam",
    "brotli",
    "fasttext-predict",
    "numba",
    "numpy",
    "pyarrow",
    "resiliparse",
)
_LIBRARIES += ("trafilatura", "zstandard")


def build_manifest(job: Job, audit: Audit) -> dict[str, Any]:
    """The manifest of a run as JSON-able values (formats.md)."""
    plan = load_plan(job.storage())
    vocabulary = load_vocabulary(job.recipe.pack.vocabulary, job.hashes[job.recipe.pack.vocabulary])
    mixture = describe_mixture(job, audit.rows)
    sources = describe_sources(job, audit, mixture)
    tokens = {split: [_shard(row) for row in _shards(audit, split)] for split in SPLITS}
    return {
        "format": FORMAT,
        "recipe": recipe_to_tree(job.recipe),
        "environment": {
            "python": platform.python_version(),
            "libraries": {name: version(name) for name in _LIBRARIES},
            "numba_target": TARGET,
            "files": dict(sorted(job.hashes.items())),
        },
        "inputs": [
            {
                "source": entry["source"],
                "path": entry["path"],
                "bytes": entry["bytes"],
                "identity": entry["identity"],
            }
            for entry in plan["inputs"]
        ],
        "content_digest": content_digest(audit.rows),
        "balanced": not audit.problems,
        "problems": audit.problems,
        "ledger": [{"phase": phase_of(entry.stage), **asdict(entry)} for entry in audit.totals.entries],
        "sources": sources,
        "mixture": mixture,
        "repeated": describe_repeats(audit.rows),
        "decontamination": describe_contamination(job, audit.rows),
        "perplexity": describe_perplexity(job),
        "lists": [dict(row.notes) for row in audit.rows.get("work/lists", ())],
        "dedup": describe_duplicates(job, audit.rows, audit.totals),
        "takedowns": describe_takedowns(job, audit),
        "vocabulary": {
            "file": vocabulary.file,
            "sha256": vocabulary.sha256,
            "n_vocab": vocabulary.n_vocab,
            "eot": vocabulary.eot,
        },
        "tokens": tokens,
        "totals": {
            "documents": audit.totals.side("gate", "out").records,
            "kept": audit.totals.side("decide", "out").records,
            "tokens": sum(shard["tokens"] for shards in tokens.values() for shard in shards),
            "rows": sum(shard["rows"] for shards in tokens.values() for shard in shards),
        },
    }


_PHASES = {"cluster": "deduplicate", "decide": "decide", "encode": "decide"}
_PHASES |= dict.fromkeys(("mix", "copies", "shards"), "pack")


def phase_of(stage: str) -> str:
    """The phase in which a ledger stage stands."""
    return _PHASES.get(stage, "annotate")


def content_digest(rows: dict[str, list[Row]]) -> str:
    """blake2b-128 over the content digests of all parts that make the corpus."""
    return fingerprint(
        [(step, row.number, [file.content for file in row.files]) for step in _DIGESTED for row in rows[step]]
    )


def describe_sources(job: Job, audit: Audit, mixture: dict[str, Any]) -> list[dict[str, Any]]:
    """Per source: what was kept, its tokens, its repeats, and what of it stands in the shards (ends
    included).
    """
    dealt: Counter[str] = Counter()
    for row in audit.rows["work/exchange"]:
        for source, tokens in row.notes["tokens_after"].items():
            dealt[source] += tokens
    frozen = {entry["name"]: entry for entry in audit.rows["work/mixture"][0].notes["sources"]}
    described = []
    for source in job.recipe.sources:
        facts = frozen[source.name]
        described.append(
            {
                "name": source.name,
                "kind": source.kind,
                "licence": source.licence,
                "documents": facts["train_documents"] + facts["validation_documents"],
                "tokens": facts["train_tokens"] + facts["validation_tokens"],
                "repeats": repeats_of_source(mixture, source.name),
                "tokens_after": dealt[source.name],
            }
        )
    return described


def describe_takedowns(job: Job, audit: Audit) -> list[dict[str, Any]]:
    """Per request: what was asked for, how many documents it names, how many of them would be in the corpus,
    the tokens of their copies (ends included), and the shards that are without them.
    """
    if not has_takedowns(job):
        return []
    named: Counter[int] = Counter()
    for row in audit.rows["decisions"]:
        named.update(dict(row.notes.get("taken", ())))
    mixture = audit.rows["work/mixture"][0].notes
    copies = list(taken_copies(audit.rows["work/encoded"], mixture, seed=job.recipe.seed))
    packed = Counter(
        document[0]
        for row in audit.rows["work/encoded"]
        for document in row.notes.get("taken", {}).get("documents", ())
    )
    return [
        {
            **asdict(request),
            "documents": named[number],
            "in_corpus": packed[number],
            "tokens": sum(copy.tokens for copy in copies if copy.request == number),
            "shards": sorted({shard_name(c.split, c.shard) for c in copies if c.request == number}),
        }
        for number, request in enumerate(read_requests(job.storage()))
    ]


def describe_repeats(rows: dict[str, list[Row]]) -> dict[str, int]:
    """Passages that were cut out because they stand elsewhere in the kept corpus, their bytes, the documents
    that lost some, and the documents of which no edit left anything; all 0 if the recipe cuts nothing.
    """
    cut = [row.notes for row in rows.get("work/repeats", ())]
    told = {name: sum(notes[name] for notes in cut) for name in ("passages", "bytes", "documents")}
    return {**told, "emptied": sum(row.notes["empty"] for row in rows["work/encoded"])}


def _shards(audit: Audit, split: str) -> list[Row]:
    rows = [row for row in audit.rows["work/shards"] if row.notes["split"] == split and row.files]
    return sorted(rows, key=lambda row: row.notes["shard"])


def _shard(row: Row) -> dict[str, Any]:
    file = row.files[0]
    return {
        "file": file.name,
        "sha256": file.sha256,
        "bytes": file.bytes,
        "rows": file.rows,
        "tokens": row.notes["tokens"],
    }


def write_manifest(job: Job, manifest: dict[str, Any], audit: Audit) -> None:
    """Puts manifest.parquet, then MANIFEST.json."""
    storage = job.storage()
    table = pa.Table.from_pylist(
        [
            {"step": step, "number": row.number, "fingerprint": row.fingerprint, **asdict(file)}
            for step, rows in sorted(audit.rows.items())
            for row in rows
            for file in row.files
        ]
    )
    with storage.scratch() as scratch:
        local = scratch / "manifest.parquet"
        pq.write_table(table, local, compression="zstd")
        manifest["manifest_sha256"] = file_sha256(local)
        storage.put_file(local, "manifest.parquet")
    storage.put_bytes("MANIFEST.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
