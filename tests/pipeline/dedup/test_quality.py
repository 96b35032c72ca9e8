"""Recall and precision from parts made by hand, without a runner."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import schema
from pipeline.dedup import quality
from pipeline.ledger import Count
from pipeline.parts import PartWriter
from pipeline.phase import Job, Step, commit, need_rows, row_name
from pipeline.recipe_file import load_recipe

RECALL, PRECISION = quality.STEPS
PLANTED = pa.schema([("row", pa.uint32()), ("jaccard_ppm", pa.uint32())])


def at(part: int, row: int) -> int:
    return schema.locator(part, row)


def run_step(job: Job, step: Step) -> list[int]:
    """What a runner does with a step, blocks in the least convenient order; returns the keys it finished."""
    payloads, blocks = dict(step.plan(job)), defaultdict(list)
    for scatter in step.scatters:
        sent = defaultdict(list)
        for key in sorted({*payloads, *blocks}):
            for place, block in scatter(job, key, payloads.get(key, b""), blocks[key][::-1]):
                sent[place].append(block)
        payloads, blocks = {}, sent
    assert step.keys is not None
    keys = dict(step.keys(job))
    for key, payload in keys.items():
        step.finish(job, key, payload, blocks[key][::-1])
    return list(keys)


def put(job: Job, step: str, number: int, files: Mapping[str, tuple[pa.Schema, Sequence[Any]]]) -> None:
    """Commits a part: columns by folder."""
    with job.storage().scratch() as scratch:
        finished = []
        for folder, (columns, values) in files.items():
            writer = PartWriter(scratch, folder, number, columns)
            writer.write(
                pa.record_batch(
                    [pa.array(v, f.type) for v, f in zip(values, columns, strict=True)], schema=columns
                )
            )
            finished.append(writer.finish())
        commit(job, step, number, made_of="by hand", files=finished, count=Count())


def put_planted(job: Job, part: int, rows: list[int], ppm: list[int]) -> None:
    put(job, "work/signatures", part, {"work/planted": (PLANTED, [rows, ppm])})


def put_verified(
    job: Job, partition: int, edges: list[tuple[int, int]], followed: list[tuple[int, int]]
) -> None:
    files = {
        "work/verified": (schema.NEAR_EDGES, [[a for a, _ in edges], [b for _, b in edges]]),
        "work/followed": (schema.FOLLOWED, [[a for a, _ in followed], [b for _, b in followed]]),
    }
    put(job, "work/verified", partition, files)


def put_documents(job: Job, part: int, texts: list[str], languages: list[str], clusters: list[int]) -> None:
    for step, name, kind, values in (
        ("documents", "text", pa.string(), texts),
        ("measures", "language", pa.string(), languages),
        ("clusters", "cluster", pa.uint64(), clusters),
    ):
        put(job, step, part, {step: (pa.schema([(name, kind)]), [values])})


@pytest.fixture
def job(tmp_path: Path) -> Job:
    recipe = load_recipe("quickstart", ["minhash.shingle=2", "deduplicate.verify=jaccard"])
    job = Job(str(tmp_path), recipe, {}, parts=2, partitions=2)
    put_documents(job, 0, ["a b c d", "a b c e", "f g h i j", "x y"], ["en", "en", "zh", "en"], [0, 0, 2, 3])
    put_documents(job, 1, ["a b c d", "f g h i k", "w"], ["en", "zh", "fr"], [0, at(1, 1), at(1, 2)])
    put_planted(job, 0, [0, 2, 3], [859_999, 700_000, 990_000])
    put_planted(job, 1, [1], [1_000_000])
    # The copy of (0, 0) met a member of its cluster, and in another bucket somebody else; that of (0, 2) met
    # others only; that of (0, 3) nobody; that of (1, 1) its own original.
    put_verified(job, 0, [(at(0, 0), at(0, 1))], [(at(0, 0), at(1, 0)), (at(0, 2), at(0, 3))])
    edges = [(at(0, 2), at(1, 1)), (at(0, 0), at(1, 0))]
    put_verified(job, 1, edges, [(at(0, 0), at(0, 2)), (at(0, 2), at(1, 1)), (at(1, 1), at(1, 1))])
    return job


def notes(job: Job, step: Step, number: int) -> Mapping[str, Any]:
    return need_rows(job, step.name, [number])[0].notes


def test_a_copy_is_found_if_a_leader_is_in_its_originals_cluster(job: Job) -> None:
    assert run_step(job, RECALL) == [0, 1]
    assert notes(job, RECALL, 0)["planted"] == [["en", 85, 1, 1], ["en", 99, 1, 0], ["zh", 70, 1, 0]]
    assert notes(job, RECALL, 1)["planted"] == [["zh", 100, 1, 1]]


def test_a_part_without_planted_copies_or_documents_has_a_row(job: Job) -> None:
    put_planted(job, 1, [], [])
    put_documents(job, 1, [], [], [])
    for partition in range(2):
        put_verified(job, partition, [], [])
    assert run_step(job, RECALL) == [0, 1]
    assert notes(job, RECALL, 1)["planted"] == []
    assert run_step(job, PRECISION) == [0]
    assert notes(job, PRECISION, 0) == {"similarity_ppm": [], "bands": []}


def test_only_what_changed_is_measured_again(job: Job) -> None:
    run_step(job, RECALL)
    run_step(job, PRECISION)
    assert run_step(job, RECALL) == run_step(job, PRECISION) == []
    job.storage().delete(row_name("work/recall", 1))
    assert run_step(job, RECALL) == [1]
    put_planted(job, 0, [0, 2, 3], [859_999, 700_000, 10_000])
    assert run_step(job, RECALL) == [0]
    assert run_step(job, PRECISION) == []
    put_documents(job, 1, ["a b c x", "f g h i k", "w"], ["en", "zh", "fr"], [0, at(1, 1), at(1, 2)])
    assert run_step(job, RECALL) == []
    assert run_step(job, PRECISION) == [0]


@pytest.mark.parametrize(
    ("verify", "similar"),
    [("jaccard", [500_000, 600_000, 1_000_000]), ("containment", [666_666, 750_000, 1_000_000])],
)
def test_sampled_pairs_are_compared_by_their_texts(
    verify: str, similar: list[int], tmp_path: Path, job: Job
) -> None:
    recipe = load_recipe("quickstart", ["minhash.shingle=2", f"deduplicate.verify={verify}"])
    run_step(Job(str(tmp_path), recipe, {}, parts=2, partitions=2), PRECISION)
    found = notes(job, PRECISION, 0)
    assert found["similarity_ppm"] == similar
    assert found["bands"] == [[ppm // 50_000, 1] for ppm in similar]


def test_the_sample_is_bounded_and_keyed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "_SAMPLE", 20)
    rng = np.random.default_rng(1)
    words = [" ".join(f"w{n}" for n in rng.integers(0, 50, 30)) for _ in range(200)]
    put_documents(job, 0, words, ["en"] * 200, list(range(200)))
    edges = [(at(0, 2 * n), at(0, 2 * n + 1)) for n in range(100)]
    samples = []
    for order in (edges, edges[::-1]):
        put_verified(job, 0, order, [])
        put_verified(job, 1, [], [])
        run_step(job, PRECISION)
        samples.append(notes(job, PRECISION, 0)["similarity_ppm"])
    assert len(samples[0]) == 10  # 20 pairs by 2 partitions
    assert samples[0] == samples[1]
