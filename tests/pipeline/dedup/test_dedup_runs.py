"""Whole runs: clusters do not depend on how the work is cut, and an earlier run serves as an index."""

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline import plan
from pipeline.config import RecipeError
from pipeline.recipe_file import recipe_from_tree
from pipeline.run import RunOptions, run

OLD, NEW = 220, 200  # documents of the two dumps


def write_corpus(folder: Path) -> None:
    """Two dumps of JSONL: new documents, edited copies inside a dump and across, exact copies, short texts,
    and documents between two old ones that are not alike themselves.
    """
    rng = np.random.default_rng(20)

    def fresh(words: int = 260) -> list[str]:
        return [f"w{number}" for number in rng.integers(0, 10**9, words)]

    def edited(words: list[str], share: float) -> list[str]:
        return [word if rng.random() > share else f"x{rng.integers(10**9)}" for word in words]

    old = [fresh() for _ in range(120)]
    old += [edited(old[number], 0.02) for number in range(40)]
    old += [list(old[number]) for number in range(60, 80)]
    new = [fresh() for _ in range(60)]
    new += [edited(old[number], 0.02) for number in range(30, 70)]
    new += [edited(new[number], 0.02) for number in range(20)]
    new += [list(old[number]) for number in range(100, 120)]
    new += [fresh(3), ["two", "words"], ["two", "words"]]
    between = [fresh() for _ in range(20)]
    for words in between:  # J(left, right) = 0.6, J(middle, either) = 0.78
        old += [fresh(32) + words[32:], words[:-32] + fresh(32)]
        new.append(words)
    for name, documents in (("old", old), ("new", new)):
        (folder / name).mkdir(parents=True)
        lines = [
            json.dumps(
                {"id": f"{name}-{number}", "text": " ".join(words), "date": f"2024-01-{number % 28 + 1:02d}"}
            )
            for number, words in enumerate(documents)
        ]
        (folder / name / "part.jsonl").write_text("\n".join(lines) + "\n")


def recipe_of(folder: Path, *names: str, **deduplicate: Any) -> dict[str, Any]:
    sources = [
        {"name": name, "kind": "web", "paths": [f"{folder}/{name}/*.jsonl"], "format": "jsonl", "dump": dump}
        for dump, name in enumerate(("old", "new"))
        if name in names
    ]
    return {
        "name": "dedup",
        "sources": sources,
        "annotate": {"split_bytes": 60_000},
        "deduplicate": deduplicate,
        "decide": {"survivor": ["earlier", "newest", "longest"], "validation_share": 0.1},
    }


def run_recipe(tree: dict[str, Any], output: Path, *, workers: int = 1) -> dict[str, Any]:
    console = Console(quiet=True)
    assert run(recipe_from_tree(tree), RunOptions(str(output), workers), console) == 0
    return json.loads((output / "MANIFEST.json").read_text())


def columns(output: Path, step: str, names: list[str]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for commit in sorted((output / step).glob("part-*.json")):
        for file in json.loads(commit.read_text())["files"]:
            if file["name"].startswith(f"{step}/"):
                table = pq.read_table(output / file["name"], columns=names)
                rows += [list(row.values()) for row in table.to_pylist()]
    return rows


def verdicts(output: Path, *names: str) -> dict[bytes, tuple[Any, ...]]:
    ids = [row[0] for row in columns(output, "documents", ["id"])]
    return {i: tuple(row) for i, row in zip(ids, columns(output, "decisions", list(names)), strict=True)}


def clusters(output: Path) -> set[frozenset[bytes]]:
    ids = [row[0] for row in columns(output, "documents", ["id"])]
    found = defaultdict(set)
    for identity, (cluster,) in zip(ids, columns(output, "clusters", ["cluster"]), strict=False):
        found[cluster].add(identity)
    return {frozenset(members) for members in found.values() if len(members) > 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def union(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("union") / "out"
    run_recipe(recipe_of(corpus, "old", "new"), output)
    return output


@pytest.fixture(scope="module")
def first(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run over the old dump alone; read only."""
    output = tmp_path_factory.mktemp("first") / "out"
    run_recipe(recipe_of(corpus, "old"), output)
    return output


def test_the_corpus_has_what_it_is_for(union: Path) -> None:
    dedup = json.loads((union / "MANIFEST.json").read_text())["dedup"]
    assert dedup["clusters"] > 100
    assert dedup["removed"] > 120
    assert dedup["short"] == 3
    assert dedup["precision"] > 0.95
    assert dedup["overflow"] == dedup["cut_buckets"] == 0
    assert max(cluster["size"] for cluster in dedup["largest"]) >= 3
    assert dedup["largest"][0]["samples"][0]["text"]
    similar = [
        bands for language in dedup["recall"].values() for name, bands in language.items() if name >= "0.85"
    ]
    assert sum(band["planted"] for band in similar) > 20
    assert sum(band["found"] for band in similar) >= sum(band["planted"] for band in similar) - 1


ALSO = [pytest.param(change, marks=pytest.mark.slow) for change in ("splits", "stars", "small buckets")]


@pytest.mark.parametrize("change", ["partitions", *ALSO])
def test_clusters_do_not_depend_on_how_the_work_is_cut(
    change: str, corpus: Path, union: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = recipe_of(corpus, "old", "new")
    if change == "partitions":
        monkeypatch.setattr(plan, "_LEAST_PARTITIONS", 3)
    elif change == "splits":
        tree["annotate"]["split_bytes"] = 23_456
        tree["sources"].reverse()
    elif change == "stars":
        tree["deduplicate"]["components"] = "stars"
    else:
        tree["deduplicate"]["max_bucket"] = 2  # every bucket of three is cut up, and still joined
    run_recipe(tree, tmp_path / "out", workers=2 if change == "splits" else 1)
    assert clusters(tmp_path / "out") == clusters(union)
    names = ("kept", "reason", "cluster_id", "validation", "survivor_by")
    assert verdicts(tmp_path / "out", *names) == verdicts(union, *names)


def test_an_earlier_run_gives_what_one_run_over_both_would(
    corpus: Path, union: Path, first: Path, tmp_path: Path, said_by: Callable[[Path], dict[str, str]]
) -> None:
    before = said_by(first)
    run_recipe(recipe_of(corpus, "new", against=[str(first)]), tmp_path / "out")
    names = ("kept", "reason", "cluster_id", "validation")
    together, apart = verdicts(union, *names), verdicts(tmp_path / "out", *names)
    assert len(apart) > NEW - 60
    assert apart == {identity: together[identity] for identity in apart}
    assert sum(reason == "duplicate" for _, reason, _, _ in apart.values()) > 60
    assert said_by(first) == before  # labels and verdicts of the earlier run are as they were

    old = verdicts(first, "cluster_id")
    partners = {i: set(ids) for i, (ids,) in verdicts(tmp_path / "out", "partners").items()}
    clusters_together = [cluster for cluster in clusters(union) if cluster & set(apart)]
    bridged = 0
    for cluster in clusters_together:
        met = {old[member][0] for member in cluster if member in old}
        bridged += len(met) > 1
        for member in cluster & set(apart):
            assert partners[member] == met
    assert bridged >= 10  # new documents between two old clusters name both
    assert all(
        not ids for i, ids in partners.items() if not any(i in cluster for cluster in clusters_together)
    )


@pytest.mark.slow
def test_a_third_run_knows_both_before_it(corpus: Path, first: Path, tmp_path: Path) -> None:
    second, third = tmp_path / "second", tmp_path / "third"
    run_recipe(recipe_of(corpus, "new", against=[str(first)]), second)
    with pytest.raises(RecipeError, match="was itself deduplicated against"):
        run_recipe(recipe_of(corpus, "new", against=[str(second)]), third)
    run_recipe(recipe_of(corpus, "new", against=[str(first), str(second)]), third)
    assert {reason for _, reason in verdicts(third, "kept", "reason").values()} == {"duplicate"}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("parameters", "was made with minhash.bands = 14"),
        ("unfinished", "there is no MANIFEST.json in it"),
        ("missing", "is missing"),
        ("cut", "bytes instead of"),
        ("changed", "is damaged: its sha256"),
        ("nothing", "holds no finished run"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(
    damage: str, said: str, corpus: Path, first: Path, tmp_path: Path
) -> None:
    index = tmp_path / "index"
    if damage != "nothing":
        shutil.copytree(first, index)
    tree = recipe_of(corpus, "new", against=[str(index)])
    signatures = sorted((index / "work/signatures").glob("*.parquet"))
    if damage == "parameters":
        tree["minhash"] = {"bands": 13}
    elif damage == "unfinished":
        (index / "MANIFEST.json").unlink()
    elif damage == "missing":
        signatures[0].unlink()
    elif damage == "cut":
        signatures[0].write_bytes(signatures[0].read_bytes()[:-1])
    elif damage == "changed":
        content = bytearray(signatures[-1].read_bytes())
        content[len(content) // 2] ^= 1
        signatures[-1].write_bytes(content)
    with pytest.raises(ValueError, match=said):
        run_recipe(tree, tmp_path / "out")
