"""Lines and paragraphs that occur before are cut out of kept documents, and copies follow cluster sizes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.decide.mixture import rehydration
from pipeline.kernels.passages import find_passages
from pipeline.recipe_file import recipe_from_tree
from pipeline.report.export import export_run
from pipeline.report.simulate import print_simulation
from pipeline.report.why import print_why
from pipeline.run import RunOptions, run

BANNER = "Subscribe to our newsletter of 2024 for more!"


def test_lines_and_their_keys() -> None:
    text = pa.array([None, "", "Ab 1\n\n  too short\nAB, 9!\n…!\nab 12", "中文 A\r\nlast"])
    found = find_passages(text, unit="lines", least=4)
    spans = [
        (int(d), text[int(d)].as_py().encode()[s:e].decode())
        for d, s, e in zip(found.document, found.start, found.end, strict=True)
    ]
    assert spans == [
        (2, "Ab 1\n"),
        (2, "  too short\n"),
        (2, "AB, 9!\n"),
        (2, "ab 12"),
        (3, "中文 A\r\n"),
        (3, "last"),
    ]
    keys = found.key.tolist()
    assert keys[0] == keys[2] != keys[3]  # digits are 0, but as many as there are
    assert len(set(keys)) == 5
    sliced = find_passages(text.slice(2, 1), unit="lines", least=4)
    assert sliced.key.tolist() == keys[:4]
    assert (sliced.start.tolist(), sliced.end.tolist()) == (found.start.tolist()[:4], found.end.tolist()[:4])


def test_paragraphs_take_their_empty_lines_with_them() -> None:
    text = "one line\nand its next\n\n \n\nsecond one\n\nthird"
    found = find_passages(pa.array([text]), unit="paragraphs", least=5)
    pieces = [text[s:e] for s, e in zip(found.start, found.end, strict=True)]
    assert "".join(pieces) == text
    assert [piece.strip() for piece in pieces] == ["one line\nand its next", "second one", "third"]


def page(number: int) -> str:
    return "\n".join(
        f"Line {word} of page {'abcdefghij'[number]} is here alone." for word in ("one", "two", "six")
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repeats")
    texts = [f"{page(number)}\n{BANNER}" for number in range(5)] + [BANNER.upper().replace("2024", "1999")]
    texts += [f"{page(0)}\n{BANNER}\n"] * 3  # equal to the first
    lines = [json.dumps({"text": text, "id": str(number)}) for number, text in enumerate(texts)]
    (folder / "pages.jsonl").write_text("\n".join(lines))
    return folder


def run_corpus(corpus: Path, output: Path, **decide: object) -> tuple[list[str], dict[str, Any]]:
    tree = {
        "name": "repeats",
        "sources": [
            {"name": "web", "kind": "web", "format": "jsonl", "paths": [f"{corpus}/*.jsonl"], "repeats": 2.0}
        ],
        "decide": {"validation_share": 0.0, **decide},
    }
    console = Console(quiet=True)
    assert run(recipe_from_tree(tree), RunOptions(str(output), 1), console) == 0
    assert export_run(str(output), f"{output}/export", "parquet", console) == 0
    exported = [
        text
        for file in sorted(Path(f"{output}/export").rglob("*.parquet"))
        for text in pq.read_table(file)["text"].to_pylist()
    ]
    return exported, json.loads((output / "MANIFEST.json").read_text())


@pytest.mark.parametrize("unit", ["lines", pytest.param("paragraphs", marks=pytest.mark.slow)])
def test_one_copy_of_a_line_stays_in_the_kept_corpus(unit: str, corpus: Path, tmp_path: Path) -> None:
    texts, manifest = run_corpus(corpus, tmp_path / "out", repeated=unit, repeated_characters=20)
    assert manifest["balanced"]
    cut = manifest["repeated"]
    assert (cut["passages"], cut["documents"], cut["emptied"]) == (
        (5, 5, 1) if unit == "lines" else (0, 0, 0)
    )
    assert len(texts) == 6  # the documents stay
    lines = Counter(line.lower() for text in texts for line in text.splitlines() if line)
    banners = [line for line in lines if "newsletter" in line]
    assert sum(lines[line] for line in banners) == (1 if unit == "lines" else 6)
    for number in range(5):
        assert lines[page(number).splitlines()[1].lower()] == 1
    plain, _ = run_corpus(corpus, tmp_path / "plain")
    assert sum("newsletter" in text.lower() for text in plain) == 6


@pytest.mark.slow
def test_rehydration_multiplies_the_repeats_of_large_clusters(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plain = run_corpus(corpus, tmp_path / "plain")
    _, more = run_corpus(corpus, tmp_path / "more", rehydrate=[[1, 1], [4, 3]])
    assert more["balanced"]

    def copies(manifest: dict[str, Any]) -> int:
        entries = manifest["ledger"]
        return sum(e["records"] for e in entries if (e["stage"], e["reason"]) == ("copies", "in"))

    assert copies(plain) == 12  # six documents, twice
    assert copies(more) == 16  # the survivor of four comes six times
    assert print_simulation(str(tmp_path / "plain"), ["decide.rehydrate=[[1, 1], [4, 3]]"], as_json=True) == 0
    told = json.loads(capsys.readouterr().out)["totals"]
    assert told["tokens_after"] == [plain["totals"]["tokens"], more["totals"]["tokens"]]
    assert told["estimated"] == 0


def test_why_tells_of_what_was_cut_out_and_of_the_factor(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_corpus(corpus, tmp_path / "out", repeated="lines", repeated_characters=20, rehydrate=[[2, 0]])
    traces = []
    for file in (tmp_path / "out/export").rglob("*.parquet"):
        for identity in pq.read_table(file)["id"].to_pylist():
            print_why(str(tmp_path / "out"), doc=identity, url=None, row=None, as_json=True)
            traces += json.loads(capsys.readouterr().out)["documents"]
    assert Counter(edit["reason"] for trace in traces for edit in trace["edits"]) == {"repeated": 5}
    for trace in traces:
        assert BANNER not in trace["excerpt"] or not trace["edits"]
        in_cluster = trace["cluster"]["size"] > 1
        assert (trace["factor"], len(trace["copies"])) == ((0, 0) if in_cluster else (1, 2))
    (gone,) = (trace["id"] for trace in traces if not trace["copies"])
    print_why(str(tmp_path / "out"), doc=gone, url=None, row=None, as_json=False)
    assert "repeated 2 times, times 0 for its cluster" in capsys.readouterr().out


def test_factors_by_cluster_size() -> None:
    steps = [[1, 1], [2, 2], [3, 3], [5, 5], [100, 8], [1000, 1]]  # FineWeb2's
    sizes = np.array([1, 2, 3, 4, 5, 99, 100, 999, 1000, 10**6])
    assert rehydration(sizes, steps).tolist() == [1, 2, 3, 3, 5, 5, 8, 8, 1, 1]
    assert rehydration(sizes, []).tolist() == [1] * 10
