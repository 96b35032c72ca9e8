"""Promise 2: whatever a record does, it is counted under its reason, kept with its bytes, stops nothing."""

import gzip
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brotli
import pyarrow.parquet as pq
import pytest
import zstandard
from rich.console import Console

from pipeline.annotate import split as annotate_split
from pipeline.config import Annotate, Recipe
from pipeline.phase import read_row
from pipeline.plan import find_hashes
from pipeline.quickstart.archive import build_record
from pipeline.recipe_file import recipe_from_tree
from pipeline.report.audit import audit
from pipeline.report.run_folder import open_run
from pipeline.run import OK, RunOptions, run

MIB = 1 << 20
CRASHING = "crashing_engine:open_task"


@pytest.fixture(autouse=True)
def own_sandboxes() -> Iterator[None]:
    """Children of other tests are not lent here, nor these elsewhere."""
    annotate_split.close_sandboxes()
    yield
    annotate_split.close_sandboxes()


@pytest.fixture
def crashing_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages may give orders to the process that extracts them (crashing_engine.py)."""
    monkeypatch.setattr(annotate_split, "TASK", CRASHING)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


# --- records ------------------------------------------------------------------------------------------------


def html(number: int, order: str = "") -> bytes:
    """A page of about 1 kB whose main text any engine finds."""
    sentence = (
        f"A sluice washes gold from gravel, and page {number} tells of it in the plain words of a miner. "
    )
    return f'<html><body><main><p data-order="{order}">{sentence * 8}</p></main></body></html>'.encode()


def response(body: bytes, *headers: str) -> bytes:
    head = "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: text/html; charset=utf-8", *headers, "", ""])
    return head.encode() + body


def member(name: str, content: bytes) -> bytes:
    """A gzip member with one response record."""
    headers = {"WARC-Target-URI": f"https://site.test/{name}", "Content-Type": "application/http"}
    return gzip.compress(build_record("response", headers, content=content), mtime=0)


@dataclass(frozen=True)
class Bad:
    """A bad record: where and why it is set aside, and the bytes that have to be there."""

    name: str
    reason: str
    member: bytes
    raw: bytes
    stage: str = "text"
    detail: str = ""


def bad_page(name: str, reason: str, content: bytes, detail: str = "") -> Bad:
    return Bad(name, reason, member(name, content), content, detail=detail)


def broken(whole: bytes) -> bytes:
    """A member with a flipped byte near its end."""
    return whole[:-20] + bytes([whole[-20] ^ 0xFF]) + whole[-19:]


BROKEN = broken(member("broken", response(html(900))))
CUT = member("cut", response(html(901)))[:-100]
LARGE = response(b"<p>" + b"x" * (3 * MIB))
LARGE_RECORD = build_record(
    "response",
    {"WARC-Target-URI": "https://site.test/record", "Content-Type": "application/http"},
    content=bytes(range(256)) * (20 << 10),
)
BAD = (
    bad_page("undecodable", "undecodable", response(b"%PDF-1.4 \x00\x01\x02")),
    bad_page("chunking", "bad_chunking", response(b"5\r\nhello!!!\r\n", "Transfer-Encoding: chunked")),
    bad_page("http", "bad_http", b"no response at all"),
    bad_page("large", "page_too_large", LARGE),
    bad_page("empty", "empty_text", response(b"<html><body><script>1</script></body></html>")),
    bad_page("raise", "extract_error", response(html(1, "raise")), "RuntimeError: told to"),
    bad_page("loop", "sandbox_cpu", response(html(2, "loop"))),
    bad_page("abort", "sandbox_signal_6", response(html(3, "abort"))),
    bad_page("memory", "sandbox_memory", response(html(4, "memory"))),
    bad_page("exit", "sandbox_exit_0", response(html(5, "exit"))),
    bad_page("leave", "sandbox_exit_1", response(html(6, "interpreter")), "SystemExit: told to leave"),
    Bad("broken", "bad_gzip", BROKEN, BROKEN, "read"),
    Bad("record", "record_too_large", gzip.compress(LARGE_RECORD), LARGE_RECORD[:MIB], "read"),
    Bad("truncated", "truncated_gzip", CUT, CUT, "read"),  # last: it is the file that ends
)


# --- runs ---------------------------------------------------------------------------------------------------


def recipe_of(*files: Path, **annotate: Any) -> Recipe:
    source = {"name": "web", "kind": "web", "format": "warc", "paths": [str(file) for file in files]}
    return recipe_from_tree({"name": "test", "sources": [source], "annotate": annotate})


def run_recipe(recipe: Recipe, output: Path) -> None:
    console = Console(quiet=True)
    assert run(recipe, RunOptions(str(output), 1), console) == OK


def quarantined(output: Path) -> list[dict[str, Any]]:
    return [
        row for path in sorted(output.glob("quarantine/*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def urls(output: Path) -> list[str]:
    """The last part of every document's URL, in order."""
    tables = [pq.read_table(path) for path in sorted(output.glob("documents/*.parquet"))]
    return [url.rpartition("/")[2] for table in tables for url in table["url"].to_pylist()]


def dropped(output: Path) -> dict[tuple[str, str], int]:
    """Records by stage and reason, from the commit rows."""
    totals = audit(open_run(str(output))).totals
    return {(e.stage, e.reason): e.records for stage in ("read", "text") for e in totals.dropped(stage)}


def test_every_kind_of_bad_record(
    crashing_engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each between healthy neighbours; then again, without a look at any of them."""
    healthy = [member(f"page-{number}", response(html(number))) for number in range(len(BAD))]
    file = tmp_path / "bad.warc.gz"
    file.write_bytes(
        b"".join(part for good, bad in zip(healthy, BAD, strict=True) for part in (good, bad.member))
    )
    limits = {
        "cpu_seconds": 0.5,
        "memory_bytes": 1 << 29,
        "max_page_bytes": 2 * MIB,
        "max_record_bytes": 4 * MIB,
    }
    recipe, output = recipe_of(file, **limits), tmp_path / "out"
    run_recipe(recipe, output)

    assert urls(output) == [f"page-{number}" for number in range(len(BAD))]
    assert dropped(output) == Counter((bad.stage, bad.reason) for bad in BAD)
    rows = quarantined(output)
    where = {(row["stage"], row["reason"]): row for row in rows}
    assert len(where) == len(rows) == len(BAD)
    starts = {bad.name: file.read_bytes().index(bad.member) for bad in BAD}
    for bad in BAD:
        row = where[bad.stage, bad.reason]
        assert row["raw"] == bad.raw, bad.name
        assert row["detail"] == bad.detail, bad.name
        assert (row["source"], row["path"], row["offset"]) == ("web", "bad.warc.gz", starts[bad.name])

    row = read_row(open_run(str(output)), "documents", 0)
    monkeypatch.setattr(annotate_split, "Sandbox", None)  # a record that were tried again would find none
    annotate_split.close_sandboxes()
    run_recipe(recipe, output)
    assert read_row(open_run(str(output)), "documents", 0) == row


def test_only_bad_records(crashing_engine: None, tmp_path: Path) -> None:
    """A split that gives no document at all is a part, too."""
    file = tmp_path / "bad.warc.gz"
    file.write_bytes(
        b"".join(bad.member for bad in BAD if bad.reason in ("undecodable", "bad_gzip", "extract_error"))
    )
    run_recipe(recipe_of(file), tmp_path / "out")
    assert urls(tmp_path / "out") == []
    assert sum(dropped(tmp_path / "out").values()) == len(quarantined(tmp_path / "out")) == 3


def test_what_is_set_aside_does_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad records by the hundred are written as they come, with nothing good between them."""
    pages = [response(b"%PDF-" + bytes([number]) * MIB) for number in range(24)]
    pages += [b"no response" + bytes([number]) * MIB for number in range(24)]
    file = tmp_path / "bad.warc.gz"
    file.write_bytes(b"".join(member(str(number), page) for number, page in enumerate(pages)))
    most = 0
    take = annotate_split.Quarantine.take

    def watched(quarantine: annotate_split.Quarantine) -> Any:
        nonlocal most
        most = max(most, quarantine.bytes)
        return take(quarantine)

    monkeypatch.setattr(annotate_split.Quarantine, "take", watched)
    run_recipe(recipe_of(file), tmp_path / "out")
    assert [row["raw"] for row in quarantined(tmp_path / "out")] == pages
    assert most < 8 * MIB


def test_a_busy_machine_sets_nothing_aside(tmp_path: Path) -> None:
    """CPU time is what counts: with twice as many burners as cores, no healthy page is blamed."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    annotate = Annotate(cpu_seconds=0.3)
    hashes = find_hashes(recipe_of(tmp_path))
    frames = [annotate_split.frame("http", "", "", response(html(number))) for number in range(300)]
    try:
        with annotate_split.lend_sandbox(annotate, hashes[annotate.language_model]) as sandbox:
            answers = [
                answer for start in range(0, 300, 60) for answer in sandbox.run(frames[start : start + 60])
            ]
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert [where for where, _ in answers] == [list(range(60))] * 5


# --- bombs ----------------------------------------------------------------------------------------------


def test_bodies_that_are_bombs(tmp_path: Path) -> None:
    """Refused by count in every coding; the child that meets them stays small."""
    full = bytes(128 * MIB)
    bombs = {
        "gzip": gzip.compress(full, mtime=0),
        "deflate": zlib.compress(full, 9),
        "br": brotli.compress(full, quality=3),
        "zstd": zstandard.compress(full),
    }
    bodies = [response(bomb, f"Content-Encoding: {coding}") for coding, bomb in bombs.items()]
    assert all(len(body) < MIB for body in bodies)
    file = tmp_path / "bombs.warc.gz"
    members = [member(f"bomb-{number}", body) for number, body in enumerate(bodies)]
    file.write_bytes(b"".join([*members, member("page", response(html(1)))]))
    run_recipe(recipe_of(file, max_ratio=200), tmp_path / "out")
    assert urls(tmp_path / "out") == ["page"]
    assert dropped(tmp_path / "out") == {("text", "ratio_cap"): 4}
    assert [row["raw"] for row in quarantined(tmp_path / "out")] == bodies
    [(_, sandbox)] = annotate_split._idle
    assert sandbox._child is not None
    status = Path(f"/proc/{sandbox._child.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 400 << 10  # kB; its libraries and models alone take 150 to 200 MB
