"""What a mixture says is what stands in the shards, document by document; validation is never touched."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.report.explain import explain_document
from pipeline.report.explain_view import document_panel
from pipeline.report.run_folder import open_run
from pipeline.report.simulate import print_simulation
from pipeline.report.summary import print_summary
from pipeline.schema import locator

ONCE = "sources.books.repeats=1.0"  # the quickstart's books are repeated twice
WEIGHTS = (ONCE, "mixture.method=weights", "sources.web.weight=3", "sources.books.weight=2")
WARM = (ONCE, "mixture.method=temperature", "mixture.temperature=3.0", "mixture.by=source-language")

Copies = Counter[tuple[str, int, int]]  # tokens with their end, by (split, locator, copy)


@pytest.fixture(scope="module")
def mixed(small_run: Path, run_small, tmp_path_factory) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """The baseline with another mixture: (folder, manifest); each is made once, and read only."""
    made: dict[tuple[str, ...], tuple[Path, dict[str, Any]]] = {}

    def run(*settings: str) -> tuple[Path, dict[str, Any]]:
        if settings not in made:
            folder = tmp_path_factory.mktemp("mixed") / "out"
            shutil.copytree(small_run, folder)
            made[settings] = folder, run_small(folder, *settings)
        return made[settings]

    return run


def read_copies(output: Path) -> Copies:
    """Every copy in the shards, counted from their rows alone."""
    found: Copies = Counter()
    for path in sorted(output.glob("tokens/*.arrow")):
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all().select(["documents", "length"]).to_pylist()
        for row in table:
            starts = [piece["row_start"] for piece in row["documents"]] + [row["length"]]
            for piece, end in zip(row["documents"], starts[1:], strict=True):
                key = (path.name.partition("-")[0], piece["locator"], piece["copy"])
                found[key] += end - piece["row_start"]
    return found


def read_keys(output: Path) -> dict[int, tuple[str, str]]:
    """(source, language) by locator."""
    keys = {}
    for path in sorted(output.glob("documents/*.parquet")):
        part = int(path.name.split("-")[1])
        (measures,) = output.glob(f"measures/part-{part:05d}-*.parquet")
        sources = pq.read_table(path, columns=["source"])["source"].to_pylist()
        languages = pq.read_table(measures, columns=["language"])["language"].to_pylist()
        for row, key in enumerate(zip(sources, languages, strict=True)):
            keys[locator(part, row)] = key
    return keys


@pytest.mark.parametrize(
    "settings", [WEIGHTS, (*WEIGHTS, "mixture.tokens=60000"), WARM], ids=["weights", "target", "warm"]
)
def test_the_manifest_tells_what_stands_in_the_shards(settings, mixed, small_run: Path) -> None:
    output, manifest = mixed(*settings)
    copies, keys, mixture = read_copies(output), read_keys(output), manifest["mixture"]
    assert manifest["balanced"]
    trained: Counter[tuple[str, str]] = Counter()
    for (split, where, _), tokens in copies.items():
        trained[keys[where]] += tokens * (split == "train")
    told = {(part["source"], part["language"]): part["trained"] for part in mixture["repeats"]}
    assert told == {key: trained[key] for key in told} and sum(told.values()) == sum(trained.values())
    assert mixture["trained"] == sum(group["trained"] for group in mixture["groups"]) == sum(trained.values())
    assert mixture["trained"] == sum(shard["tokens"] for shard in manifest["tokens"]["train"])
    for group in mixture["groups"]:
        assert group["share_got"] == pytest.approx(group["trained"] / mixture["trained"], abs=1e-6)
        # The draw decides over one copy of each document at most.
        expected = group["tokens"] * group["repeats_micro"] / 1e6
        assert abs(group["trained"] - expected) <= 0.5 * group["tokens"]
    assert sum(group["share_wanted"] for group in mixture["groups"]) == pytest.approx(1, abs=1e-5)
    held_out = {key: tokens for key, tokens in copies.items() if key[0] == "validation"}
    baseline = {key: tokens for key, tokens in read_copies(small_run).items() if key[0] == "validation"}
    assert held_out == baseline and held_out and {copy for *_, copy in held_out} == {0}


def test_raising_the_repeats_of_one_source_only_adds_copies_of_it(mixed, small_run: Path) -> None:
    before, keys = read_copies(small_run), read_keys(small_run)
    after = read_copies(mixed("sources.web.repeats=1.75")[0])
    assert all(after[key] == tokens for key, tokens in before.items())
    added = after.keys() - before.keys()
    assert added and all(keys[where][0] == "web" for _, where, _ in added)


def test_by_weights_every_document_of_a_source_goes_the_same_way(mixed) -> None:
    """A heavier source makes others lighter: theirs lose copies only, its own only gain some."""
    before, manifest = mixed(*WEIGHTS, "mixture.tokens=60000")
    heavier = (*WEIGHTS, "mixture.tokens=60000", "sources.books.weight=1.5")
    after, changed = mixed(*heavier)
    keys = read_keys(before)
    passes = [
        {group["group"]: group["repeats_micro"] for group in of["mixture"]["groups"]}
        for of in (manifest, changed)
    ]
    assert passes[0]["web"] < passes[1]["web"] and passes[0]["books"] > passes[1]["books"]
    old, new = read_copies(before), read_copies(after)
    assert {keys[where][0] for _, where, _ in old.keys() - new.keys()} == {"books"}
    assert {keys[where][0] for _, where, _ in new.keys() - old.keys()} == {"web"}


@pytest.mark.slow
def test_two_workers_and_a_fresh_run_give_the_same(mixed, run_small, said_by, tmp_path: Path) -> None:
    run_small(tmp_path, *WARM, workers=2)
    assert said_by(tmp_path) == said_by(mixed(*WARM)[0])


ALSO = (*WARM, "mixture.tokens=90000", "decide.rehydrate=[[2, 3]]")  # a run of its own


@pytest.mark.parametrize("settings", [WEIGHTS, WARM, pytest.param(ALSO, marks=pytest.mark.slow)])
def test_a_simulated_mixture_is_the_run_that_follows(settings, mixed, small_run: Path, capsys) -> None:
    output, manifest = mixed(*settings)
    print_simulation(str(small_run), settings, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["totals"]["estimated"] == 0
    assert told["totals"]["tokens_after"][1] == manifest["totals"]["tokens"]
    for source, simulated in zip(manifest["sources"], told["sources"], strict=True):
        assert simulated["tokens_after"][1] == source["tokens_after"]
        assert simulated["repeats"][1] == source["repeats"]
    frozen = {(p["source"], p["language"]): p["repeats_micro"] / 1e6 for p in manifest["mixture"]["repeats"]}
    assert frozen == {
        (line["source"], line["language"]): line["repeats"][1] for line in told["kept"] if line["tokens"][1]
    }
    print_simulation(str(output), [], as_json=True)  # of the run itself: nothing changes
    same = json.loads(capsys.readouterr().out)
    assert all(
        before == after for line in same["kept"] for before, after in (line["repeats"], line["tokens_after"])
    )
    assert same["totals"]["tokens_after"] == [manifest["totals"]["tokens"]] * 2
    print_simulation(str(output), ["decide.thresholds.web.en.min_words=250"], as_json=False)
    assert "→" in capsys.readouterr().out


def test_what_was_wanted_and_not_got_is_said(mixed, capsys) -> None:
    output, manifest = mixed(*WEIGHTS, "sources.books.weight=100000", "mixture.tokens=200000")
    books = next(group for group in manifest["mixture"]["groups"] if group["group"] == "books")
    assert books["short"] and books["repeats_micro"] == 4_000_000 and books["share_wanted"] > 0.9
    print_summary(Console(width=200), open_run(str(output)))
    said = capsys.readouterr().out
    page = (output / "report.html").read_text()
    for told in (said, page):
        assert (
            "books: 100.0% of the training tokens wanted" in told and "4 passes (mixture.max_epochs)" in told
        )
        assert "No group has more to give" in told
    assert "share wanted" in page
    assert (
        "wanted"
        not in (mixed(*WARM, "mixture.temperature=1.0")[0] / "report.html")
        .read_text()
        .split("<h2>The mixture")[0]
    )


def test_why_names_the_group(mixed) -> None:
    output, manifest = mixed(*WARM)
    (path,) = sorted(output.glob("tokens/train-00000.arrow"))
    with pa.memory_map(str(path)) as source:
        where = pa.ipc.open_file(source).get_batch(0)["documents"][0].as_py()[0]["locator"]
    told = explain_document(open_run(str(output)), where)
    assert told["group"] == f"{told['source']['name']}/{told['language']}"
    (part,) = [p for p in manifest["mixture"]["groups"] if p["group"] == told["group"]]
    assert told["repeats"] == part["repeats_micro"] / 1e6
    assert len(told["copies"]) in (int(told["repeats"]), int(told["repeats"]) + 1)
    console = Console(width=120, record=True, file=StringIO())
    console.print(document_panel(told))
    assert f"{told['group']} is repeated {told['repeats']:g} times" in console.export_text()
