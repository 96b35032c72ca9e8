"""The figures of a finished run that its closing table and its report page both show."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.ledger import IN, OUT
from pipeline.phase import Job, need_rows

# Stages of the ledger in the order in which records meet them.
FUNNEL = ("splits", "read", "text", "gate", "decide", "encode", "mix", "copies", "shards")
PHASE_OF_STEP = {
    "documents": "annotate",
    "measures": "annotate",
    "work/signatures": "annotate",
    "work/candidates-scatter": "deduplicate",
    "work/candidates": "deduplicate",
    "work/groups": "deduplicate",
    "work/verified-evidence": "deduplicate",
    "work/verified": "deduplicate",
    "work/components": "deduplicate",
    "clusters": "deduplicate",
    "work/recall": "deduplicate",
    "work/precision": "deduplicate",
    "work/lists": "decide",
    "work/perplexity": "decide",
    "work/repeats": "decide",
    "decisions": "decide",
    "work/encoded": "decide",
    "work/mixture": "decide",
    "work/exchange": "pack",
    "work/shards": "pack",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One line of the funnel: records in and out, and what was dropped by reason, most first."""

    name: str
    came: int
    left: int
    dropped: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is shown."""

    funnel: tuple[Stage, ...]
    kept: tuple[tuple[str, str, int, int], ...]  # source, language, documents, tokens
    seconds: Mapping[str, float]  # busy seconds of workers, by phase
    stage_seconds: Mapping[str, float]  # the same, by stage inside phases
    bytes: Mapping[str, int]  # bytes of files, by phase


def gather_facts(job: Job, manifest: Mapping[str, Any]) -> Facts:
    """Facts from the manifest, the commit rows and the timings of a run."""
    stages: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in manifest["ledger"]:
        stages[entry["stage"]][entry["reason"]] += entry["records"]
    funnel = tuple(_stage(name, stages[name]) for name in FUNNEL if name in stages)
    documents: Counter[tuple[str, str]] = Counter()
    tokens: Counter[tuple[str, str]] = Counter()
    written: Counter[str] = Counter()
    steps = ("documents", "measures", "work/signatures", "clusters", "decisions", "work/encoded")
    for step in steps:
        for row in need_rows(job, step, range(job.parts)):
            written[PHASE_OF_STEP[step]] += sum(file.bytes for file in row.files)
            for source, language, _, number, of_them, _ in row.notes.get("kept", ()):
                documents[source, language] += number
                tokens[source, language] += of_them
    written["pack"] += sum(shard["bytes"] for shards in manifest["tokens"].values() for shard in shards)
    kept = tuple(
        (*key, documents[key], tokens[key]) for key in sorted(tokens, key=lambda key: (-tokens[key], key))
    )
    seconds, stage_seconds = _seconds(job)
    return Facts(funnel, kept, seconds, stage_seconds, written)


def _stage(name: str, counts: Counter[str]) -> Stage:
    dropped = [(reason, number) for reason, number in counts.items() if reason not in (IN, OUT)]
    return Stage(name, counts[IN], counts[OUT], tuple(sorted(dropped, key=lambda drop: (-drop[1], drop[0]))))


def _seconds(job: Job) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds by phase and by stage, as the workers timed them when they made the parts."""
    phases: Counter[str] = Counter()
    stages: Counter[str] = Counter()
    storage = job.storage()
    for name in storage.names("work/timings"):
        record = storage.read_json(name) or {}
        step = name.removeprefix("work/timings/").rsplit("/", 1)[0]
        phases[PHASE_OF_STEP.get(step, step)] += record.get("nanoseconds", 0)
        for stage, nanoseconds in record.get("stages", {}).items():
            stages[stage] += nanoseconds
    return {key: value / 1e9 for key, value in phases.items()}, {
        key: value / 1e9 for key, value in stages.items()
    }
