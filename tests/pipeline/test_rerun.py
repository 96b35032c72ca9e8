"""What a change makes again: a literal table of ten kinds of change and the steps that each of them reruns.

Every row starts from a copy of the baseline. A commit row that was written again has another time; one that was
only adopted under another number (an input was added) has another time too, but its files have not.
"""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.annotate.language import find_language_model
from pipeline.pack.vocabulary import find_vocabulary
from pipeline.plan import package_path
from pipeline.quickstart.archive import build_record

STEPS = (
    "documents",
    "measures",
    "work/signatures",
    "work/candidates",
    "work/components",
    "clusters",
    "decisions",
    "work/encoded",
    "work/mixture",
    "work/exchange",
    "work/shards",
)
ALL = set(STEPS)
DEDUPLICATE = {"work/candidates", "work/components", "clusters"}
PACK = {"work/mixture", "work/exchange", "work/shards"}
DECIDE = {"decisions", "work/encoded"}


@dataclass
class Corner:
    """A copy of the baseline and of its inputs, to be changed."""

    output: Path
    web: Path
    books: Path

    @property
    def sources(self) -> tuple[str, str]:
        return f'sources.web.paths=["{self.web}/*.warc.gz"]', f'sources.books.paths=["{self.books}/*.jsonl"]'


@pytest.fixture
def corner(small_run: Path, tmp_path: Path) -> Corner:
    made = Corner(tmp_path / "out", tmp_path / "web", tmp_path / "books")
    shutil.copytree(small_run, made.output)
    shutil.copytree(package_path("package://web"), made.web)
    shutil.copytree(package_path("package://books"), made.books)
    return made


def times(output: Path) -> dict[str, int]:
    return {
        path.relative_to(output).as_posix(): path.stat().st_mtime_ns
        for path in output.rglob("*")
        if path.is_file()
    }


def written(before: dict[str, int], after: dict[str, int]) -> dict[str, set[str]]:
    """Names of the files that were put, by step: its commit rows and its parts."""
    put = {name for name, time in after.items() if before.get(name) != time}
    return {step: {name for name in put if name.startswith(f"{step}/")} for step in STEPS}


def remade(put: dict[str, set[str]]) -> set[str]:
    return {step for step, names in put.items() if any(name.endswith(".json") for name in names)}


# --- changes ----------------------------------------------------------------------------------------------


def setting(*settings: str) -> Callable[[Corner], list[str]]:
    return lambda corner: list(settings)


def model_copy(corner: Corner) -> list[str]:
    copy = corner.output.parent / "copy.ftz"
    shutil.copyfile(find_language_model("lid.176.ftz"), copy)
    return [f"annotate.language_model={copy}"]


def other_model(corner: Corner) -> list[str]:
    """Other bytes, the same answers: the last byte of a fastText file is not read."""
    copy = corner.output.parent / "other.ftz"
    copy.write_bytes(find_language_model("lid.176.ftz").read_bytes() + b"\0")
    return [f"annotate.language_model={copy}"]


def other_vocabulary(corner: Corner) -> list[str]:
    """A vocabulary without its last thousand merges."""
    copy = corner.output.parent / "small.tiktoken"
    copy.write_bytes(b"".join(find_vocabulary("sluice-32k").read_bytes().splitlines(keepends=True)[:-1000]))
    return [f"pack.vocabulary={copy}"]


def input_added(corner: Corner) -> list[str]:
    """Its name sorts between the others, so that the parts after it get other numbers."""
    added = corner.web / "zh-0-and-more.warc.gz"
    text = "<p>A page that came later, with words enough to pass the gate of forty characters.</p>" * 3
    content = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body>{text}</body></html>".encode()
    headers = {"WARC-Target-URI": "https://later.test/", "Content-Type": "application/http"}
    added.write_bytes(gzip.compress(build_record("response", headers, content=content), mtime=0))
    return []


def input_changed(corner: Corner) -> list[str]:
    """One word of one book."""
    [first, *_] = sorted(corner.books.glob("*.jsonl"))
    lines = first.read_text().splitlines(keepends=True)
    record = json.loads(lines[0])
    record["text"] += "\n\nAnd one more word."
    first.write_text("".join([json.dumps(record, ensure_ascii=False) + "\n", *lines[1:]]))
    return []


TABLE: dict[str, tuple[Callable[[Corner], list[str]], set[str]]] = {
    "nothing": (setting(), set()),
    "a copy of the language model": (model_copy, set()),
    "threshold": (setting("decide.thresholds.web.en.min_words=120"), DECIDE | PACK),
    "survivor policy": (setting('decide.survivor=["shortest_url"]'), DECIDE | PACK),
    "weight": (setting("sources.books.repeats=1.5"), PACK),
    "language model": (other_model, {"measures"}),
    "vocabulary": (other_vocabulary, {"work/encoded"} | PACK),
    "extractor": (setting("annotate.engine=trafilatura"), ALL),
    "shingle size": (setting("minhash.shingle=3"), {"work/signatures"} | DEDUPLICATE | DECIDE | PACK),
    "input added": (input_added, ALL),
    "input changed": (input_changed, ALL),
    "row length": (setting("pack.row_tokens=1024"), PACK),
}
# These are compared with a run of their own, which costs as much again.
COMPARED = ("threshold", "survivor policy", "weight", "input changed")


@pytest.mark.parametrize("change", TABLE)
def test_what_a_change_makes_again(change: str, corner: Corner, run_small, said_by) -> None:
    make, expected = TABLE[change]
    before = times(corner.output)
    settings = [*corner.sources, *make(corner)]
    manifest = run_small(corner.output, *settings)
    put = written(before, times(corner.output))
    print(change, {step: len(names) for step, names in put.items()})
    assert remade(put) == expected
