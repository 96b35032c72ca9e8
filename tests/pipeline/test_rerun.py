"""What a change makes again: a literal table of kinds of change and the steps that each of them reruns.

Every line of it starts from a copy of the baseline. A commit row that was written again has another time; one
that was only adopted under another number (an input was added) has another time too, but its files have not.
"""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.annotate.language import find_language_model
from pipeline.plan import package_path
from pipeline.quickstart.archive import build_record
from tokenizer_build.vocabulary import find_vocabulary

STEPS = (
    "documents",
    "measures",
    "work/signatures",
    "work/candidates",
    "work/groups",
    "work/verified",
    "work/components",
    "clusters",
    "work/recall",
    "work/precision",
    "work/perplexity",
    "decisions",
    "work/encoded",
    "work/mixture",
    "work/exchange",
    "work/shards",
    "work/lists",
)
ALL: set[str] = {step for step in STEPS if step != "work/lists"}  # of a recipe without lists
CLUSTERS: set[str] = {"work/candidates", "work/components", "clusters"}
COMPARE: set[str] = {"work/groups", "work/verified"}
QUALITY: set[str] = {"work/recall", "work/precision"}
JOINED: set[str] = {"work/components", "clusters"}  # made of edges: equal edges, equal clusters
DEDUPLICATE: set[str] = CLUSTERS | COMPARE | QUALITY
PACK: set[str] = {"work/mixture", "work/exchange", "work/shards"}
DECIDE: set[str] = {"decisions", "work/encoded"}
FOLLOW: set[str] = {
    "measures",
    "work/perplexity",
    "work/recall",
} | DECIDE  # what follows from other measures of equal decisions


@dataclass
class Corner:
    """A copy of the baseline and of its inputs, to be changed."""

    output: Path
    web: Path
    books: Path

    @property
    def sources(self) -> tuple[str, str]:
        return f'sources.web.paths=["{self.web}/*.warc*"]', f'sources.books.paths=["{self.books}/*.jsonl"]'


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


def block_list(corner: Corner) -> list[str]:
    """One domain, on which some pages of the quickstart lie."""
    listed = corner.output.parent / "adult"
    listed.write_text("span.example\n")
    return [f"decide.block_lists=['{listed}']"]


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


def other_questions(corner: Corner) -> list[str]:
    """A question more, which no document holds."""
    folder = corner.output.parent / "evaluation"
    shutil.copytree(package_path("package://evaluation"), folder)
    question = "which of a dozen words in this long question stand in any of the pages at all or not"
    with (folder / "questions.jsonl").open("a") as file:
        file.write(json.dumps({"question": question, "answer": "none"}) + "\n")
    return [f'decontaminate.sets.questions.paths=["{folder}/*.jsonl"]']


def input_added(corner: Corner) -> list[str]:
    """Fills a split of its own; its name sorts between the others, so that later parts get other numbers."""
    pages = []
    for number in range(10):
        sentence = f"The page {number} came later, and it has the words of a page that was there before. "
        body = f"<html><body><main><p>{sentence * (26 + number)}</p></main></body></html>"
        content = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{body}".encode()
        headers = {"WARC-Target-URI": f"https://later.test/{number}", "Content-Type": "application/http"}
        pages.append(build_record("response", headers, content=content))
    added = b"".join(pages)
    assert 25_000 < len(added) < 40_000
    (corner.web / "en-1.warc").write_bytes(added)
    return []


def input_changed(corner: Corner) -> list[str]:
    """One word of one book, and a record that is no page behind an archive: all its splits are read again."""
    [first, *_] = sorted(corner.books.glob("*.jsonl"))
    lines = first.read_text().splitlines(keepends=True)
    record = json.loads(lines[0])
    record["text"] += "\n\nAnd one more word."
    first.write_text("".join([json.dumps(record, ensure_ascii=False) + "\n", *lines[1:]]))
    with (corner.web / "zh-0.warc.gz").open("ab") as archive:
        archive.write(
            gzip.compress(build_record("warcinfo", {}, content=b"description: nothing\r\n"), mtime=0)
        )
    return []


# Change -> the steps of which a commit row was written again, and how many splits were read again.
TABLE: dict[str, tuple[Callable[[Corner], list[str]], set[str], int]] = {
    "a copy of the language model": (model_copy, set(), 0),
    "threshold": (setting("decide.thresholds.default.default.min_characters=1500"), DECIDE | PACK, 0),
    "survivor policy": (setting('decide.survivor=["shortest_url"]'), DECIDE | PACK, 0),
    "block list": (block_list, {"work/lists"} | DECIDE | PACK, 0),
    "licences": (setting("decide.licences=['Apache-*']"), {"decisions"}, 0),  # all pass
    "weight": (setting("sources.books.repeats=1.5"), PACK, 0),
    "language model": (other_model, {"measures"}, 0),
    "languages of paragraphs": (
        setting("annotate.paragraph_languages=true"),
        FOLLOW,
        0,
    ),
    "perplexity model": (setting("annotate.perplexity.en=sluice-zh"), FOLLOW | PACK, 0),
    "test questions": (other_questions, {"measures"}, 0),
    "test questions, other kinds": (setting('decontaminate.kinds=["web"]'), FOLLOW, 0),
    "test questions that are cut": (setting("decontaminate.action=cut"), DECIDE | PACK, 0),
    "vocabulary": (other_vocabulary, {"work/encoded"} | PACK, 0),
    "extractor": (setting("annotate.engine=trafilatura"), ALL - {"clusters"}, 10),
    "shingle size": (setting("minhash.shingle=40"), {"work/signatures"} | DEDUPLICATE | DECIDE | PACK, 0),
    "shingle size, equal clusters": (
        setting("minhash.shingle=4"),
        {"work/signatures"} | DEDUPLICATE - {"clusters"},
        0,
    ),
    "input added": (input_added, ALL, 1),
    "input changed": (input_changed, ALL - JOINED, 1 + 4),  # equal text is still where it was
    "similarity": (setting("deduplicate.threshold=0.72"), {"work/verified"} | QUALITY, 0),
    "fold": (setting("deduplicate.fold=nfkc-v1"), {"work/signatures"} | DEDUPLICATE - {"clusters"}, 0),
    "row length": (setting("pack.row_tokens=1024"), PACK, 0),
}
# The others' lines of the table are tested when slow: a case is a run, and several change the same thing.
USUAL = {
    "a copy of the language model",
    "threshold",
    "vocabulary",
    "input added",
    "input changed",
    "similarity",
}
COMPARED = ("input changed",)  # with a fresh run, which costs as much again; the others when slow


@pytest.mark.parametrize(
    "change", [pytest.param(name, marks=[] if name in USUAL else [pytest.mark.slow]) for name in TABLE]
)
def test_what_a_change_makes_again(change: str, corner: Corner, run_small, said_by, tmp_path: Path) -> None:
    make, expected, read_again = TABLE[change]
    before = times(corner.output)
    settings = [*corner.sources, *make(corner)]
    manifest = run_small(corner.output, *settings)
    put = written(before, times(corner.output))
    assert remade(put) == expected
    assert sum(name.endswith(".parquet") for name in put["documents"]) == read_again
    if change in COMPARED:
        run_small(tmp_path / "fresh", *settings)
        assert said_by(corner.output) == said_by(tmp_path / "fresh")
    if change == "input added":  # parts that got other numbers kept the names of their files
        fresh = run_small(tmp_path / "fresh", *settings)
        assert manifest["content_digest"] == fresh["content_digest"]
        assert manifest["ledger"] == fresh["ledger"] and manifest["tokens"] == fresh["tokens"]


@pytest.mark.slow
@pytest.mark.parametrize("change", sorted(TABLE.keys() - {*COMPARED, "input added"}))
def test_a_rerun_says_what_a_fresh_run_says(
    change, corner: Corner, run_small, said_by, tmp_path: Path
) -> None:
    settings = [*corner.sources, *TABLE[change][0](corner)]
    run_small(corner.output, *settings)
    run_small(tmp_path / "fresh", *settings)
    assert said_by(corner.output) == said_by(tmp_path / "fresh")
