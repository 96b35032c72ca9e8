"""A sample is the same for everyone, has equal shares of its strata, and grows without losing anyone."""

import json
from collections import Counter, defaultdict
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.cli import main
from pipeline.config import UsageError
from pipeline.kernels.keyed import keyed_u64
from pipeline.phase import Job
from pipeline.report.explain import explain_document
from pipeline.report.run_folder import find_locators, open_run
from pipeline.report.sample import STAGES, draw_sample
from pipeline.report.sample_rows import decode_excerpt
from pipeline.report.sample_view import print_sample, sample_blocks
from pipeline.report.why import parse_id

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def job(small_run: Path) -> Job:
    return open_run(str(small_run))


def sampled(small_run: Path, to: Path, **options) -> list[dict]:
    print_sample(str(small_run), QUIET, to=str(to), **{"stage": "kept", "n": 1_000, **options})
    if to.suffix == ".parquet":
        return pq.read_table(to).to_pylist()
    return [json.loads(line) for line in to.read_text().splitlines()]


def read_all(folder: Path) -> list[dict]:
    """Every document of a run with what strata are made of, without the code that draws."""
    found = []
    for path in sorted(folder.glob("documents/*.parquet")):
        row = {"path": path.name}
        parts = []
        for step, columns in {
            "documents": ["id", "source"],
            "measures": ["language"],
            "decisions": ["kept", "reason"],
        }.items():
            (file,) = folder.glob(f"{step}/{path.name[:10]}-*.parquet")
            parts.append(pq.read_table(file, columns=columns).to_pylist())
        found += [row | a | b | c for a, b, c in zip(*parts, strict=True)]
    return found


@pytest.fixture(scope="module")
def everyone(small_run: Path) -> list[dict]:
    return read_all(small_run)


@pytest.mark.parametrize("stage", ["documents", "kept", "dropped"])
@pytest.mark.parametrize("by", [("source",), ("source", "language"), ("language", "reason")])
@pytest.mark.parametrize("n", [1, 17, 10_000])
def test_it_takes_the_first_of_every_stratum_by_hash(everyone, job, stage, by, n) -> None:
    everyone = [one for one in everyone if stage == "documents" or one["kept"] == (stage == "kept")]
    draws = keyed_u64(pa.array([one["id"] for one in everyone], pa.binary(16)), seed=7, tag="sample").tolist()
    strata: dict[tuple[str, ...], list[tuple[int, bytes]]] = defaultdict(list)
    for one, draw in zip(everyone, draws, strict=True):
        strata[tuple(one[name] for name in by)].append((draw, one["id"]))
    rounds = [
        (rank, draw, identifier)
        for of_stratum in strata.values()
        for rank, (draw, identifier) in enumerate(sorted(of_stratum))
    ]
    drawn = draw_sample(job, stage, by, n, 7)
    ids = {explain_document(job, one.locator)["id"] for one in drawn} if n < 100 else None
    if ids is not None:
        assert ids == {identifier.hex() for *_, identifier in sorted(rounds)[:n]}
    assert len(drawn) == min(n, len(everyone))
    numbers = Counter(one.stratum for one in drawn)
    full = {stratum for stratum, of_stratum in strata.items() if numbers[stratum] == len(of_stratum)}
    shares = [numbers[stratum] for stratum in strata if stratum not in full]
    assert not shares or max(shares) - min(shares) <= 1  # equal, but for those that are there whole
    assert all(numbers[stratum] <= max([*shares, n]) for stratum in full)
    assert [one.stratum for one in drawn] == sorted(one.stratum for one in drawn)


@pytest.mark.parametrize("stage", STAGES)
def test_a_larger_sample_holds_the_smaller(job, stage) -> None:
    by = ("source", "reason")
    samples = [{one.locator for one in draw_sample(job, stage, by, n, 0)} for n in (1, 2, 3, 7, 16, 39)]
    assert all(small <= large for small, large in pairwise(samples))
    assert len(samples[-1]) >= 3 > len(samples[0])
    other = {one.locator for one in draw_sample(job, "documents", by, 10, 1)}
    assert other != {one.locator for one in draw_sample(job, "documents", by, 10, 0)}


def test_rows_agree_with_why(small_run, job, tmp_path) -> None:
    rows = sampled(small_run, tmp_path / "a.jsonl", stage="documents", n=25, by="reason")
    assert len({row["reason"] for row in rows}) > 4
    for row in rows:
        (place,) = find_locators(job, "id", parse_id(row["id"]))
        told = explain_document(job, place)
        failing = {rule["rule"]: rule for rule in told["rules"] if not rule["passes"]}
        assert [rule["rule"] for rule in row["failing"]] == told["decision"]["failing"] == list(failing)
        for rule in row["failing"]:
            value, limit = failing[rule["rule"]]["value"], failing[rule["rule"]]["threshold"]
            assert rule["value"] == (value if isinstance(value, str) else f"{value[0]}/{value[1]}")
            assert rule["threshold"] == (", ".join(limit) if isinstance(limit, list) else str(limit))
        assert row["measures"] == told["measures"] and row["cluster_size"] == told["cluster"]["size"]
        assert row["edited"].startswith(told["excerpt"])
        for name in ("kept", "reason", "validation"):
            assert row[name] == told["decision"][name]
        for name in ("url", "licence", "language", "language_score"):
            assert row[name] == told[name]


def test_texts_before_and_after_their_edits(small_run, tmp_path) -> None:
    both = sampled(small_run, tmp_path / "both.jsonl")
    masked = [row for row in both if row["text"] != row["edited"]]
    assert any("<email>" in row["edited"] for row in masked) and len(masked) < len(both)
    assert not any("<email>" in row["text"] for row in masked)
    before = sampled(small_run, tmp_path / "before.jsonl", edited="before")
    after = sampled(small_run, tmp_path / "after.jsonl", edited="after")
    assert [row["text"] for row in before] == [row["text"] for row in both] and "edited" not in before[0]
    assert [row["edited"] for row in after] == [row["edited"] for row in both] and "text" not in after[0]


@pytest.mark.parametrize("stage", STAGES)
def test_files_are_private_and_say_the_same(small_run, tmp_path, stage) -> None:
    old = tmp_path / "a.jsonl"
    old.write_text("something longer than a sample " * 100_000)
    old.chmod(0o644)
    rows = sampled(small_run, old, stage=stage, n=12)
    assert rows == sampled(small_run, tmp_path / "a.parquet", stage=stage, n=12)
    assert len(rows) == (3 if stage == "quarantine" else 12)
    content = old.read_bytes()
    sampled(small_run, old, stage=stage, n=12)
    assert old.read_bytes() == content
    print_sample(str(small_run), QUIET, stage=stage, n=12, to=str(tmp_path / "a.txt"))
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "a.txt").read_text()
    assert all(row["id"] in text for row in rows)


def test_quarantine_says_why(small_run, tmp_path) -> None:
    rows = sampled(small_run, tmp_path / "a.jsonl", stage="quarantine")
    held = [row for path in small_run.glob("quarantine/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert len(rows) == len(held) == len({row["id"] for row in rows})
    raws = {(row["path"], row["offset"], row["index"]): row for row in held}
    for row in rows:
        record = raws[row["path"], row["offset"], row["index"]]
        assert (row["reason"], row["stage"], row["media"]) == (
            record["reason"],
            record["stage"],
            record["media"],
        )
        assert row["text"] == decode_excerpt(record["raw"])
    assert decode_excerpt("中文中文".encode() + b"\xff") == "中文中文\ufffd"
    assert decode_excerpt(bytes(range(200, 256))).startswith("56 bytes that are no text: c8 c9")
    assert decode_excerpt(b"") == ""


def test_on_a_terminal(small_run, capsys) -> None:
    assert main(["sample", str(small_run), "--stage", "dropped", "--n", "4", "--by", "reason"]) == 0
    told = capsys.readouterr()
    assert "4 of dropped in 4 strata by reason" in told.err
    assert "dropped: " in told.out and "fails" in told.out and "threshold" in told.out
    assert main(["sample", str(small_run), "--n", "2", "--format", "jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["kept"] for line in lines] == [True, True] and all(map(str.isascii, lines))


def test_hostile_text_does_not_steer_the_terminal() -> None:
    evil = "\x1b]0;owned\x07[bold]\u202e\x9b31m\nnext line"
    row = dict.fromkeys(("id", "url", "source", "path", "detail", "media", "stage", "text"), evil)
    screen = Console(file=StringIO(), record=True, width=80)
    for block in sample_blocks([{**row, "kept": False, "reason": evil}], [evil], 0):
        screen.print(block)
    told = screen.export_text()
    assert not set(told) & {"\x1b", "\x07", "\u202e", "\x9b"} and "[bold]" in told and "next line" in told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stage": "keep"}, ["--stage", "'kept'"]),
        ({"by": "sorce"}, ["--by", "'source'"]),
        ({"by": ""}, ["--by"]),
        ({"by": "source,source"}, ["twice"]),
        ({"stage": "quarantine", "by": "language"}, ["--by language"]),
        ({"n": 0}, ["--n 0"]),
        ({"edited": "no"}, ["--edited", "before"]),
        ({"format": "json"}, ["--format", "'jsonl'"]),
        ({"format": "parquet"}, ["--output"]),
        ({"to": "/tmp"}, ["folder"]),
    ],
)
def test_wrong_options_are_refused(small_run, options, words) -> None:
    with pytest.raises(UsageError) as raised:
        print_sample(str(small_run), QUIET, **{"stage": "kept", "n": 5, **options})
    assert all(word in str(raised.value) for word in words)


def test_a_run_that_is_not_there_or_not_finished(small_run, tmp_path, capsys) -> None:
    assert main(["sample", str(tmp_path)]) == 2
    (tmp_path / "plan.json").write_bytes((small_run / "plan.json").read_bytes())
    assert main(["sample", str(tmp_path)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "holds no run" in told and "is not finished" in told
