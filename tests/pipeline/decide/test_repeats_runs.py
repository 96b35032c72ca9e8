"""Which copy of a repeated line stays: a matter of documents, never of how the work is cut."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline import plan
from pipeline.decide.repeats_step import _PASSAGE, later_passages
from pipeline.recipe_file import recipe_from_tree
from pipeline.report.export import export_run
from pipeline.run import RunOptions, run

BANNERS = [f"This banner of site {name} stands on many of its pages." for name in ("a", "b", "c", "d")]
MAIL = "Write to someone.special@example.com for more of that."
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll"]


def test_the_first_passage_of_a_key_goes_by_order_then_place() -> None:
    rows = np.zeros(5, _PASSAGE)
    rows["key"] = [7, 7, 7, 7, 9]
    rows["order"] = [5, 4, 4, 4, 1]
    rows["locator"] = [1, 8, 3, 3, 2]
    rows["start"] = [0, 0, 60, 30, 0]
    for seed in range(5):
        later = later_passages(np.random.default_rng(seed).permutation(rows))
        assert [(int(p["locator"]), int(p["start"])) for p in later] == [(3, 60), (8, 0), (1, 0)]
    assert not len(later_passages(rows[:0]))


def text_of(number: int, rng: np.random.Generator) -> str:
    lines = [" ".join(rng.choice(WORDS, 9)) + f" {number}" for _ in range(4)]
    lines += [BANNERS[at] for at in rng.integers(0, len(BANNERS), 3)]  # sometimes twice in a document
    return "\n".join(str(line) for line in rng.permutation(lines))


def write_source(folder: Path, name: str, documents: list[tuple[str, str]]) -> dict[str, Any]:
    (folder / name).mkdir(parents=True)
    lines = [json.dumps({"id": identity, "text": text}) for identity, text in documents]
    (folder / name / "pages.jsonl").write_text("\n".join(lines) + "\n")
    return {"name": name, "kind": "web", "format": "jsonl", "paths": [f"{folder}/{name}/*.jsonl"]}


def run_sources(sources: list[dict[str, Any]], output: Path, **keys: Any) -> dict[bytes, tuple[str, bool]]:
    """(text, validation) of every exported document by its id."""
    decide = {"repeated": "lines", "repeated_characters": 30, **keys.pop("decide", {})}
    tree = {"name": "repeats", "sources": sources, "decide": decide, **keys}
    console = Console(quiet=True)
    assert run(recipe_from_tree(tree), RunOptions(str(output), 1), console) == 0
    assert json.loads((output / "MANIFEST.json").read_text())["balanced"]
    assert export_run(str(output), f"{output}/export", "parquet", console) == 0
    tables = [pq.read_table(file) for file in sorted(Path(f"{output}/export").rglob("*.parquet"))]
    return {
        row["id"]: (row["text"], row["validation"])
        for table in tables
        for row in table.select(["id", "text", "validation"]).to_pylist()
    }


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Two sources that share banners and whole texts: ties that only ids can break."""
    folder, rng = tmp_path_factory.mktemp("sources"), np.random.default_rng(3)
    texts = [text_of(number, rng) for number in range(60)]
    return [
        write_source(folder, "one", [(f"one-{n}", text) for n, text in enumerate(texts)]),
        write_source(folder, "two", [(f"two-{n}", text) for n, text in enumerate(texts[:20])]),
    ]


# Without them, equal texts are all kept.
APART = {"text": False, "near": False}


@pytest.mark.slow
def test_what_stays_does_not_depend_on_how_the_work_is_cut(
    sources: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = {"validation_share": 0.1}
    whole = run_sources(sources, tmp_path / "whole", decide=decide, deduplicate=APART)
    assert len(whole) == 80
    monkeypatch.setattr(plan, "_LEAST_PARTITIONS", 3)
    cut = run_sources(
        sources[::-1],
        tmp_path / "cut",
        decide=decide,
        deduplicate=APART,
        annotate={"split_bytes": 3_000},
    )
    assert cut == whole
    for banner in BANNERS:
        holders = [held_out for text, held_out in whole.values() if banner in text]
        assert holders == [True]  # a line that is held out is not trained on
    lines = [line for text, _ in whole.values() for line in text.splitlines()]
    assert len(lines) == len(set(lines)) == 60 * 4 + len(BANNERS)


def test_earlier_dumps_come_first_and_dropped_documents_keep_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    plain = [" ".join(rng.choice(WORDS, 40)) for _ in range(4)]
    dropped = f"{BANNERS[1]}\nfew"  # too short for the rule below
    old = [(f"old-{n}", text) for n, text in enumerate([f"{plain[0]}\n{BANNERS[0]}\n{MAIL}", dropped])]
    new = [f"{BANNERS[0]}\n{plain[1]}\n{BANNERS[1]}", f"{MAIL}\n{plain[2]}"]
    new += [f"{plain[3]}\n{MAIL}\n{MAIL}\nend"]
    one = write_source(tmp_path, "newer", [(f"new-{n}", text) for n, text in enumerate(new)])
    two = write_source(tmp_path, "older", old)
    decide = {"validation_share": 0.0, "thresholds": {"default": {"default": {"min_words": 20}}}}
    found = run_sources([one | {"dump": 5}, two | {"dump": 2}], tmp_path / "out", decide=decide)
    texts = sorted(text for text, _ in found.values())
    assert len(texts) == 4
    kept = next(text for text in texts if plain[0] in text)
    assert kept.startswith(f"{plain[0]}\n{BANNERS[0]}\nWrite to ")
    assert kept.endswith(" for more of that.") and "someone.special" not in kept
    assert sorted(text for text in texts if text is not kept) == sorted(
        [f"{plain[1]}\n{BANNERS[1]}", plain[2], f"{plain[3]}\nend"]
    )
