"""The report page is whole, self-contained and safe, whatever the data says."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipeline.phase import Job
from pipeline.report.page import render_page
from pipeline.report.run_folder import open_run, read_manifest

VOID = {"meta", "rect", "br"}


class Reader(HTMLParser):
    """Collects elements and text; fails where tags do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


@pytest.fixture(scope="module")
def job(small_run: Path) -> Job:
    return open_run(str(small_run))


@pytest.fixture
def manifest(job: Job) -> dict[str, Any]:
    return read_manifest(job)


def test_it_shows_the_run(job: Job, manifest: dict[str, Any]) -> None:
    page = read(render_page(job, manifest))
    for figure in ("kept", "tokens", "rows", "documents"):
        assert f"{manifest['totals'][figure]:,}" in page.text
    assert manifest["content_digest"] in page.text
    assert "The ledger balances" in page.text
    reasons = {e["reason"] for e in manifest["ledger"] if e["stage"] in ("read", "text", "gate", "decide")}
    for reason in reasons - {"in", "out"}:
        assert reason in page.text
    for source in manifest["sources"]:
        assert source["licence"] in page.text and f"{source['tokens_after']:,}" in page.text


def test_it_is_the_page_that_the_run_wrote(small_run: Path) -> None:
    assert "The ledger balances" in read((small_run / "report.html").read_text()).text


def test_nothing_is_loaded_and_nothing_runs(job: Job, manifest: dict[str, Any]) -> None:
    html = render_page(job, manifest)
    page = read(html)
    assert {tag for tag, _ in page.elements}.isdisjoint(
        {"script", "link", "img", "iframe", "object", "base", "form"}
    )
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("href", "src", "style") for name in attributes)
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy and policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")


def test_hostile_names_are_text(job: Job, manifest: dict[str, Any]) -> None:
    evil = "\"><script>alert('x')</script>\x1b[31m\u202e{{ 7 * 7 }}"
    manifest["inputs"][0]["path"] = evil
    manifest["sources"][0]["licence"] = evil
    sample = {"id": "0", "source": "web", "url": evil, "title": evil, "text": evil}
    manifest["dedup"]["largest"] = [{"size": 2, "samples": [sample]}]
    manifest["dedup"]["recall"] = {evil: manifest["dedup"]["recall"]["en"]}
    manifest["problems"], manifest["balanced"] = [evil], False
    page = read(render_page(job, manifest))
    assert "script" not in {tag for tag, _ in page.elements}
    assert (
        page.text.count("<script>alert('x')</script>") == 8 and "49" not in page.text.split("alert")[1][:40]
    )
    assert not set(page.text) & {"\x1b", "\u202e"}


def test_an_unbalanced_ledger_is_said_first(job: Job, manifest: dict[str, Any]) -> None:
    problem = "read: 208 records in, but 207 out or dropped (-1)"
    page = read(render_page(job, manifest | {"balanced": False, "problems": [problem]}))
    assert page.text.index("does not balance") < page.text.index(problem) < page.text.index("The funnel")
    assert "The ledger balances" not in page.text


def test_bars_stay_in_their_frame(job: Job, manifest: dict[str, Any]) -> None:
    bars = [attributes for tag, attributes in read(render_page(job, manifest)).elements if tag == "rect"]
    assert len(bars) > 10
    for bar in bars:
        start, width = float(bar["x"] or ""), float(bar["width"] or "")
        assert start >= 0 and width > 0 and start + width <= 100.01


def test_many_inputs_are_cut_short(job: Job, manifest: dict[str, Any]) -> None:
    manifest["inputs"] = [{**manifest["inputs"][0], "path": f"file-{number}"} for number in range(1050)]
    page = read(render_page(job, manifest))
    assert (
        "file-49" in page.text and "file-50" not in page.text and "1,000 more in MANIFEST.json" in page.text
    )


def test_a_run_that_keeps_nothing_has_a_page(job: Job, manifest: dict[str, Any]) -> None:
    empty = {"ledger": [], "tokens": {"train": [], "validation": []}, "inputs": []}
    totals = dict.fromkeys(manifest["totals"], 0)
    read(render_page(job, manifest | empty | {"totals": totals}))
