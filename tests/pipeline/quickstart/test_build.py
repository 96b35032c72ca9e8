"""The packaged corpus is what its sources say, and every oddity that its README lists is there."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from warcio.archiveiterator import ArchiveIterator

from pipeline.quickstart import build
from pipeline.quickstart.archive import store_member
from pipeline.quickstart.page import Page, read_pages, read_sections
from pipeline.quickstart.render import main_blocks, render_payload

ROOT = Path(build.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUESTIONS = [
    json.loads(line) for line in (ROOT / "evaluation/questions.jsonl").read_text("utf-8").splitlines()
]
RESERVED = re.compile(r"(^|\.)(example\.com|example\.org|example|test)$")


@cache
def records(language: str) -> list[tuple[str, str, str, str, bytes]]:
    """(record type, url, status, content type, de-chunked body) of every record of one WARC file."""
    found = []
    with (ROOT / f"web/{language}-0.warc.gz").open("rb") as stream:
        for record in ArchiveIterator(stream):
            http = record.http_headers
            found.append((
                record.rec_type,
                record.rec_headers.get_header("WARC-Target-URI") or "",
                http.get_statuscode() if http and record.rec_type != "request" else "",
                http.get_header("Content-Type") or "" if http else "",
                record.content_stream().read(),
            ))  # fmt: skip
    return found


@cache
def bodies(language: str) -> dict[str, bytes]:
    return {url: body for kind, url, _, _, body in records(language) if kind == "response"}


@cache
def pages(language: str) -> dict[str, Page]:
    return {page.url: page for page in read_pages(ROOT / "pages" / language) if page.record == "response"}


def shingles(text: str, pattern: str) -> set[tuple[str, ...]]:
    words = re.findall(pattern, text.lower())
    return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}


def similarity(language: str, url: str, other: str) -> float:
    """Jaccard of 5-grams of words (English) or characters (Chinese) of the main text."""
    pattern = r"\w" if language == "zh" else r"\w+"
    left, right = ("\n".join(main_blocks(pages(language)[name])) for name in (url, other))
    first, second = shingles(left, pattern), shingles(right, pattern)
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("name", ["web/en-0.warc.gz", "web/zh-0.warc.gz", "books/books.jsonl"])
def test_committed_files_are_reproduced_byte_for_byte(name: str) -> None:
    assert build.build()[name] == (ROOT / name).read_bytes()


def test_everything_is_small() -> None:
    assert (
        sum(path.stat().st_size for path in ROOT.rglob("*") if path.suffix != ".pyc" and path.is_file())
        < 600_000
    )


def test_every_host_is_reserved_and_every_listed_url_exists() -> None:
    urls = set(bodies("en")) | set(bodies("zh"))
    assert all(RESERVED.search(urlsplit(url).hostname or "") for url in urls)
    assert set(re.findall(r"`(https://[^`]+)`", README)) <= urls
    assert len(urls) == 66


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_links_only_to_reserved_hosts(language: str) -> None:
    texts = [body.decode("latin-1") for body in bodies(language).values()]
    hosts = {urlsplit(url).hostname for text in texts for url in re.findall(r'"(https?://[^"]+)', text)}
    assert hosts and all(RESERVED.search(host or "") for host in hosts)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_record_types(language: str) -> None:
    kinds = [kind for kind, *_ in records(language)]
    assert kinds[0] == "warcinfo" and kinds.count("warcinfo") == 1
    assert kinds.count("request") == kinds.count("response") + kinds.count("revisit")
    assert kinds.count("metadata") >= kinds.count("response") - 1
    assert kinds.count("revisit") == (1 if language == "en" else 0)


def test_non_pages() -> None:
    sent = {
        url: (status, mime, body) for kind, url, status, mime, body in records("en") if kind == "response"
    }
    assert sent["https://span.example/cable-stays"][0] == "404"
    assert sent["https://span.example/bridge-breathes"][0] == "301"
    assert sent["https://leaf.example/static/dot.png"][1] == "image/png"
    assert sent["https://leaf.example/static/dot.png"][2].startswith(b"\x89PNG\r\n\x1a\n")
    assert sent["https://span.example/files/load-table.pdf"][1] == "application/pdf"
    assert sent["https://span.example/files/load-table.pdf"][2].startswith(b"%PDF-")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_copies(language: str) -> None:
    copies = [page for page in pages(language).values() if page.copy_of]
    values = [similarity(language, page.url, page.copy_of) for page in copies]
    assert values.count(1.0) == 1
    assert len(values) >= 3 and all(0.85 <= value <= 0.95 for value in values if value < 1)
    assert all(page.template != pages(language)[page.copy_of].template for page in copies)


def test_charsets_that_lie() -> None:
    hutong = bodies("zh")["https://hutong.example/yu-tian-de-hutong"]
    assert b'charset="gb2312"' in hutong and all(name in hutong.decode("gb18030") for name in "喆镕龑")
    with pytest.raises(UnicodeDecodeError):
        hutong.decode("gb2312")
    assert "騎樓底下" in bodies("zh")["https://jiexiang.example/guangfu-qilou"].decode("big5")
    cafe = bodies("en")["https://cafe.example/angstrom-and-the-small-units"]
    assert b'charset="iso-8859-1"' in cafe and "Ångström" in cafe.decode("utf-8")
    words = bodies("zh")["https://yuwen.example/cuo-biaozhu"]
    assert b'charset="gbk"' in words and "的、地、得" in words.decode("utf-8")


@pytest.mark.parametrize(
    ("language", "url"),
    [("en", "https://plot.example/hedgehog-hours"), ("zh", "https://yangtai.example/bohe-zhishi")],
)
def test_broken_markup(language: str, url: str) -> None:
    html = bodies(language)[url]
    assert b"<body" not in html and html.count(b"</div>") > html.count(b"<div")
    assert html.count(b"<p>") > html.count(b"</p>") and b"<!--" in html and b"-->" not in html


def test_chunked_and_falsely_chunked() -> None:
    raw = (ROOT / "web/en-0.warc.gz").read_bytes()
    assert raw.count(b"Transfer-Encoding: chunked\r\n") == 2
    start = raw.index(
        b"Transfer-Encoding: chunked", raw.index(b"URI: https://shop.kettle.example/hand-forged")
    )
    assert raw[start:].split(b"\r\n\r\n", 1)[1].startswith(b"<!DOCTYPE html>")  # no chunk size
    joined = bodies("en")["https://docs.lathe.test/python/read-a-large-file"]
    page = pages("en")["https://docs.lathe.test/python/read-a-large-file"]
    everyone = read_pages(ROOT / "pages/en")
    position = [other.url for other in everyone].index(page.url)
    assert joined == render_payload(page, build.related(everyone, position))


def test_last_record_is_truncated() -> None:
    kind, url, *_, body = records("zh")[-1]
    assert (kind, url) == ("response", "https://chaoxi.example/huaxue")
    assert body and b"</html>" not in body
    whole = (ROOT / "web/zh-0.warc.gz").read_bytes()
    declared = int(re.findall(rb"WARC-Type: response\r\n.*?Content-Length: (\d+)", whole, re.DOTALL)[-1])
    assert len(body) < declared


def test_poor_pages_are_poor() -> None:
    spam = main_blocks(pages("en")["https://best-cheap-kettles.test/"])
    assert len(spam) > 10 * len(set(spam))
    assert len(main_blocks(pages("zh")["https://zuirepianyi.test/chahu"])) > 40
    assert bodies("en")["https://everything.example/all-links"].count(b"<a ") > 60
    lines = pages("en")["https://ruler.example/separator"].body.split("\n\n")
    assert sum(line.startswith("#") or line.endswith("...") for line in lines) == len(lines) == 13
    assert len(pages("en")["https://ruler.example/soon"].body) < 50


@pytest.mark.parametrize(
    ("language", "url", "pattern", "count"),
    [
        ("en", "https://allotments.example.org/committee/contacts", r"[\w.]+@[\w.]+\w", 3),
        (
            "en",
            "https://allotments.example.org/committee/contacts",
            r"01632 960\d{3}|07700 900\d{3}|555-01\d\d",
            3,
        ),
        ("en", "https://allotments.example.org/committee/contacts", r"(?:192\.0\.2|198\.51\.100)\.\d+", 2),
        ("zh", "https://yeyu.example/lianxi-fangshi", r"[a-z]+@example\.(?:com|org)", 2),
        ("zh", "https://yeyu.example/lianxi-fangshi", r"(?<!\d)1[3-9]\d{9}(?!\d)", 1),
        ("zh", "https://yeyu.example/lianxi-fangshi", r"192\.0\.2\.\d+", 1),
    ],
)
def test_personal_data(language: str, url: str, pattern: str, count: int) -> None:
    assert len(re.findall(pattern, bodies(language)[url].decode())) == count


def test_leaked_questions() -> None:
    assert len(QUESTIONS) == 5
    assert all(len(row["question"].split()) >= 25 or len(row["question"]) >= 60 for row in QUESTIONS)
    texts = {url: page.body for language in ("en", "zh") for url, page in pages(language).items()}
    leaks = {
        url: row["answer"] for row in QUESTIONS for url, text in texts.items() if row["question"] in text
    }
    assert leaks == {
        "https://quiz.example/rounds/harbour-night": "324",
        "https://ceyan.example/zhoumo-moti": "4",
    }


def test_languages_code_table_and_length() -> None:
    assert pages("en")["https://marees.example/la-laisse-de-mer"].lang == "fr"
    assert pages("zh")["https://umibe.example/asa-no-ichi"].lang == "ja"
    assert b"<pre><code>" in bodies("en")["https://docs.lathe.test/notes/sorting-without-surprises"]
    assert b"<pre><code>" in bodies("zh")["https://wendang.example/python/bianma"]
    assert bodies("en")["https://span.example/table-of-five-woods"].count(b"<tr>") == 6
    assert bodies("zh")["https://shiling.example/jieqi-biao"].count(b"<tr>") == 7
    assert len(pages("en")["https://plot.example/fifty-two-sundays"].body) > 39_000
    assert len({page.template for page in pages("en").values()}) >= 8


def test_books() -> None:
    rows = [json.loads(line) for line in (ROOT / "books/books.jsonl").read_text("utf-8").splitlines()]
    assert [set(row) for row in rows] == [{"id", "title", "author", "text"}] * 7
    assert len({row["id"] for row in rows}) == 7 and {row["author"] for row in rows} == {
        "Sluice contributors"
    }
    assert all(3_000 < len(row["text"].encode()) < 6_000 for row in rows)


def test_store_member_is_gzip_and_covers_many_blocks() -> None:
    for payload in (b"", b"a", bytes(range(256)) * 600, b"x" * 65_535, b"x" * 65_536):
        assert gzip.decompress(store_member(payload)) == payload


def test_an_edit_that_does_not_apply_is_an_error(tmp_path: Path) -> None:
    source = """+++
url = "https://a.example/"
title = "A"
date = "2020-01-01"
+++
one two two
+++
url = "https://b.example/"
title = "B"
date = "2020-01-01"
copy_of = "https://a.example/"
replace = [["two", "three"]]
+++
"""
    folder = tmp_path / "en"
    folder.mkdir()
    (folder / "x.md").write_text(source)
    with pytest.raises(ValueError, match="2 times"):
        read_pages(folder)
    (folder / "x.md").write_text(source.replace('"two"', '"one"'))
    assert [page.body for page in read_pages(folder)] == ["one two two", "three two two"]
    (folder / "x.md").write_text("text before\n" + source)
    with pytest.raises(ValueError, match="alternate"):
        read_sections(folder / "x.md")


def test_every_page_decodes_and_shows_its_title() -> None:
    for language in ("en", "zh"):
        for url, page in pages(language).items():
            if page.payload == "page" and not page.cut:
                assert page.title in bodies(language)[url].decode(page.encoding).replace("&#39;", "'"), url
