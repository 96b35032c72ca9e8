"""What a run says of its deduplication, counted again from its files; and how the page draws it."""

import io
import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.cli import main
from pipeline.config import PRESETS, RecipeError
from pipeline.dedup.curve import chance_of
from pipeline.phase import Job
from pipeline.recipe_file import load_recipe, recipe_from_tree
from pipeline.report.curve_view import with_preset
from pipeline.report.duplicates import band_name
from pipeline.report.duplicates_view import view_duplicates
from pipeline.report.run_folder import open_run
from pipeline.report.summary import print_summary
from pipeline.run import RunOptions, run


@pytest.fixture(scope="module")
def job(small_run: Path) -> Job:
    return open_run(str(small_run))


@pytest.fixture
def dedup(small_run: Path) -> dict[str, Any]:
    return json.loads((small_run / "MANIFEST.json").read_text())["dedup"]


def columns(output: Path, step: str, folder: str, names: list[str]) -> list[dict[str, Any]]:
    """Rows of the files of a step, as its commit rows name them."""
    rows = []
    for commit in sorted((output / step).glob("part-*.json")):
        for file in json.loads(commit.read_text())["files"]:
            if file["name"].startswith(f"{folder}/"):
                rows += pq.read_table(output / file["name"], columns=names).to_pylist()
    return rows


def test_figures_are_those_of_the_files(small_run: Path, dedup: dict[str, Any]) -> None:
    sizes = Counter(row["cluster"] for row in columns(small_run, "clusters", "clusters", ["cluster"]))
    shared = sorted((size for size in sizes.values() if size > 1), reverse=True)
    assert dedup["clusters"] == len(shared) and dedup["clustered"] == sum(shared)
    assert [cluster["size"] for cluster in dedup["largest"]] == shared[:20]
    reasons = [row["reason"] for row in columns(small_run, "decisions", "decisions", ["reason"])]
    assert dedup["removed"] == reasons.count("duplicate") > 0
    signed = columns(small_run, "work/signatures", "work/signatures", ["signed", "short", "capped"])
    for name in ("signed", "short", "capped"):
        assert dedup[name] == sum(row[name] for row in signed)


def test_every_planted_copy_is_told_once(small_run: Path, dedup: dict[str, Any]) -> None:
    planted = columns(small_run, "work/signatures", "work/planted", ["jaccard_ppm"])
    told: Counter[str] = Counter()
    for bands in dedup["recall"].values():
        told.update({name: band["planted"] for name, band in bands.items()})
        for band in bands.values():
            assert 0 <= band["found"] <= band["planted"]
            assert band["recall"] == band["found"] / band["planted"]
    assert told == Counter(band_name(row["jaccard_ppm"] // 50_000) for row in planted)
    assert dedup["planted"] == len(planted) > 40


def test_theory_is_that_of_the_copies_as_they_are(job: Job, small_run: Path, dedup: dict[str, Any]) -> None:
    chances = defaultdict(list)
    for row in columns(small_run, "work/signatures", "work/planted", ["jaccard_ppm"]):
        chances[band_name(row["jaccard_ppm"] // 50_000)].append(
            chance_of(job.recipe, row["jaccard_ppm"] / 1e6)
        )
    told: Counter[str] = Counter()
    for bands in dedup["recall"].values():
        for name, band in bands.items():
            told[name] += band["planted"] * band["theory"]
    for name, of_band in chances.items():
        assert told[name] / len(of_band) == pytest.approx(sum(of_band) / len(of_band), abs=0.06)
        assert told[name] == pytest.approx(round(told[name], 5), abs=1e-4)


def test_samples_are_masked(tmp_path: Path) -> None:
    """Text and title of two copies of a page, which name an address."""
    body = "<p>" + "</p><p>".join(f"Sentence number {n} tells of water, stone and gold." for n in range(30))
    (tmp_path / "pages").mkdir()
    for name in ("one", "two"):
        (tmp_path / "pages" / f"{name}.html").write_text(
            "<html><head><title>Write to ann@example.org</title></head><body><article>"
            f"<p>Write to ann@example.org today, says page {name}.</p>{body}</p></article></body></html>"
        )
    source = {"name": "web", "kind": "web", "paths": [f"{tmp_path}/pages"], "format": "html"}
    output = tmp_path / "out"
    recipe = recipe_from_tree({"name": "masked", "sources": [source]})
    assert run(recipe, RunOptions(str(output), 1), Console(quiet=True)) == 0
    dedup = json.loads((output / "MANIFEST.json").read_text())["dedup"]
    (cluster,) = dedup["largest"]
    assert cluster["size"] == 2
    assert [sample["title"] for sample in cluster["samples"]] == ["Write to <email>"] * 2
    assert all("Write to <email> today" in sample["text"] for sample in cluster["samples"])
    assert "ann@example.org" not in (output / "report.html").read_text()
    assert "Write to &lt;email&gt;" in (output / "report.html").read_text()


@pytest.mark.slow
def test_without_near_duplicates_nothing_is_said_of_recall(run_small: Any, tmp_path: Path) -> None:
    manifest = run_small(tmp_path / "out", "deduplicate.near=false")
    dedup = manifest["dedup"]
    assert dedup["recall"] == {} and dedup["precision"] is None
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Are they found?" not in page and "Are they right?" not in page and "Duplicates" in page
    told = io.StringIO()
    print_summary(Console(file=told, width=200), open_run(str(tmp_path / "out")))
    assert re.search(r"clusters of duplicates, \d+ removed\n", told.getvalue())


def bands(planted: int, found: int, *names: str) -> dict[str, dict[str, Any]]:
    return {
        name: {"planted": planted, "found": found, "recall": found / planted, "theory": 0.5} for name in names
    }


def test_languages_behind_the_first_five_are_one(job: Job, dedup: dict[str, Any]) -> None:
    recall = {f"l{number}": bands(10 + number, 5, "0.80-0.85") for number in range(8)}
    recall["l0"] = bands(1000, 900, "0.80-0.85", "1.00", "0.20-0.25")
    view = view_duplicates(job.recipe, {**dedup, "recall": recall})
    assert view["languages"] == ["l0", "l7", "l6", "l5", "l4", "others"]
    assert [band["name"] for band in view["bands"]] == ["1.00", "0.80 to 0.85", "0.20 to 0.25"]
    middle = view["bands"][1]
    assert middle["planted"] == 1000 + sum(range(11, 18)) and middle["found"] == 900 + 7 * 5
    assert middle["cells"] == ["900 of 1,000", "5 of 17", "5 of 16", "5 of 15", "5 of 14", "15 of 36"]
    assert view["bands"][0]["cells"] == ["900 of 1,000", "", "", "", "", ""]
    frame = view["frame"]
    assert len(view["points"]) == 7  # none below 0.5
    for point in view["points"]:
        assert frame["left"] <= float(point["x"]) <= frame["right"]
        assert frame["top"] <= float(point["y"]) <= frame["bottom"]


def test_lines_rise_from_left_to_right(job: Job, dedup: dict[str, Any]) -> None:
    view = view_duplicates(job.recipe, dedup)
    for line in (view["meet"], view["found"]):
        places = [tuple(map(float, place.split(","))) for place in line.split()]
        assert len(places) == 51 and places == sorted(places, key=lambda place: (place[0], -place[1]))
        assert places[-1] == (view["frame"]["right"], view["frame"]["top"])


def test_curve_prints_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curve", "--presets"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in PRESETS) and "…" not in told
    assert main(["curve", "quickstart", "--preset", "curator", "--set", "deduplicate.threshold=0.8"]) == 0
    told = capsys.readouterr().out
    assert "preset curator: shingles of 24 characters, 20 bands" in told and "at 0.8" in told
    assert "92.4%" in told  # at 0.85
    assert main(["curve", "--set", "minhash.bands=20"]) == 0
    assert "preset fineweb, changed" in capsys.readouterr().out
    assert main(["curve", "--preset", "curater"]) == 2
    assert "did you mean 'curator'?" in re.sub(r"\s+", " ", capsys.readouterr().out)


def test_a_preset_replaces_all_of_the_recipes_numbers() -> None:
    recipe = load_recipe("web-en-zh", ["minhash.shingle=3"])
    assert with_preset(recipe, "rpv2") == replace(
        recipe, minhash=load_recipe("web-en-zh", ["minhash.preset=rpv2"]).minhash
    )
    with pytest.raises(RecipeError, match="there are fineweb"):
        with_preset(recipe, "nothing")
