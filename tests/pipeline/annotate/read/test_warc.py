"""Healthy files of every packing, and the lists of records that another reader finds in real ones."""

import gzip
import hashlib
import random
import re
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from pipeline.annotate.read.http_response import decode_http_response

DATA = Path(__file__).resolve().parents[4] / "../shared/data"


def warc_record(
    number: int, body: bytes = b"", *, kind: str = "response", content_type: str = "application/http"
) -> bytes:
    body = body or f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>page {number}</p>".encode() * 3
    return (
        (
            f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://site.test/{number}\r\n"
            f"WARC-Date: 2026-01-01T00:00:00Z\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        + body
        + b"\r\n\r\n"
    )


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


RECORDS = [warc_record(n, b"HTTP/1.1 200 OK\r\n\r\n" + noise(n * 37 % 900, n)) for n in range(40)]


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(content)


def blocks(content: bytes, size: int, compress) -> bytes:
    return b"".join(compress(content[i : i + size]) for i in range(0, len(content), size))


PACKINGS = {
    "plain": b"".join(RECORDS),
    "gzip": b"".join(map(gzip.compress, RECORDS)),
    "gzip_stored": b"".join(gzip.compress(record, 0) for record in RECORDS),
    "gzip_whole": gzip.compress(b"".join(RECORDS)),
    "gzip_blocks": blocks(b"".join(RECORDS), 777, gzip.compress),
    "zstd": b"".join(map(zstd, RECORDS)),
    "zstd_whole": zstd(b"".join(RECORDS)),
    "zstd_frames_in_record": b"".join(blocks(record, 300, zstd) for record in RECORDS),
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_gives_the_same_records(read_file, packing):
    reading = read_file(PACKINGS[packing])
    assert [record.payload for record in reading.records] == [
        record.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n\r\n") for record in RECORDS
    ]
    assert [record.url for record in reading.records] == [f"http://site.test/{n}" for n in range(40)]
    assert not reading.skips
    assert len({(record.offset, record.index) for record in reading.records}) == 40


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("split_bytes", [211, 1_000, 5_003])
def test_spans_yield_exactly_what_the_whole_file_does(read_file, packing, split_bytes):
    whole = read_file(PACKINGS[packing])
    assert read_file(PACKINGS[packing], split_bytes=split_bytes).outcomes == whole.outcomes


@pytest.mark.parametrize("compress", [bytes, lambda record: gzip.compress(record, 0), gzip.compress, zstd])
def test_an_archive_inside_a_page_is_never_entered(read_file, compress):
    inner = b"".join(compress(warc_record(n)) for n in range(100, 120))
    outer = [
        compress(warc_record(n, b"HTTP/1.1 200 OK\r\n\r\n" + inner + noise(n * 50, n))) for n in range(6)
    ]
    whole = read_file(b"".join(outer))
    assert [record.url for record in whole.records] == [f"http://site.test/{n}" for n in range(6)]
    for split_bytes in (997, 3_000, 20_011):
        assert read_file(b"".join(outer), split_bytes=split_bytes).outcomes == whole.outcomes


def test_spans_tile_a_file_even_where_lookback_is_too_short(read_file, monkeypatch):
    monkeypatch.setattr("pipeline.annotate.read.warc.LOOKBACK_BYTES", 500)
    inner = b"".join(gzip.compress(warc_record(n), 0) for n in range(100, 120))
    outer = b"".join(gzip.compress(warc_record(n, b"HTTP/1.1 200 OK\r\n\r\n" + inner), 0) for n in range(6))
    for split_bytes in (997, 3_000, 20_011):
        urls = {record.url for record in read_file(outer, split_bytes=split_bytes).records}
        assert {f"http://site.test/{n}" for n in range(6)} <= urls  # the fixture has checked the bytes


def test_what_is_not_a_page_is_counted_by_kind(read_file):
    content = b"".join(
        [
            warc_record(0, b"software: x\r\n", kind="warcinfo", content_type="application/warc-fields"),
            warc_record(1, b"GET / HTTP/1.1\r\n\r\n", kind="request"),
            warc_record(2, kind="revisit"),
            warc_record(3, b"20260101\r\n1.2.3.4", kind="response", content_type="text/dns"),
            warc_record(4, b"\x89PNG", kind="resource", content_type="image/png"),
            warc_record(5, b"<p>hi", kind="resource", content_type='text/html; charset="GB2312"'),
            warc_record(6, "文本".encode(), kind="conversion", content_type="text/plain"),
            warc_record(7, "文本".encode("gbk"), kind="conversion", content_type="text/plain"),
            warc_record(8).replace(b"WARC-Date", b"WARC-Segment-Number: 1\r\nWARC-Date"),
        ]
    )
    reading = read_file(content)
    assert reading.account.skipped == {"record_type": 4, "revisit": 1, "segmented_record": 1, "not_utf8": 1}
    page, text = reading.records
    assert (page.media, page.charset, page.payload) == ("html", "gb2312", b"<p>hi")
    assert (text.media, text.payload.decode()) == ("text", "文本")


@pytest.mark.parametrize("ends", [b"", b"\n", b"\r\n", b"\r\n\r\n\r\n\n"])
def test_other_writers_line_ends(read_file, ends):
    records = [record.removesuffix(b"\r\n\r\n") + ends for record in RECORDS]
    assert len(read_file(b"".join(records)).records) == 40
    assert len(read_file(b"".join(map(gzip.compress, records))).records) == 40
    lines = [warc_record(n, b"HTTP/1.0 200 OK\n\nhi").replace(b"\r\n", b"\n") for n in range(5)]
    assert [record.payload for record in read_file(b"\n".join(lines)).records] == [
        b"HTTP/1.0 200 OK\n\nhi"
    ] * 5


def test_header_oddities(read_file):
    record = (
        b"WARC/1.1\r\nwarc-type:response\r\nWARC-Target-URI: <http://a.test/x y>\r\n"
        b"WARC-Date:\t2026-01-01\r\n"
        b"Content-Type: application/http;\r\n msgtype=response\r\nCONTENT-LENGTH : 17\r\n"
        b"Content-Length: 99\r\n\r\n"
        b"HTTP/1.1 200\r\n\r\nx\r\n\r\n"
    )
    (read,) = read_file(record).records
    assert (read.url, read.date, read.payload) == (
        "http://a.test/x y",
        "2026-01-01",
        b"HTTP/1.1 200\r\n\r\nx",
    )


def test_zstd_dictionary_frame(read_file):
    dictionary = zstandard.train_dictionary(4_096, [warc_record(n) + noise(50, n) for n in range(800)])
    compressor = zstandard.ZstdCompressor(dict_data=dictionary, write_checksum=True)
    frames = b"".join(compressor.compress(record) for record in RECORDS)
    for stored in (dictionary.as_bytes(), zstd(dictionary.as_bytes())):
        head = b"\x5d\x2a\x4d\x18" + len(stored).to_bytes(4, "little") + stored
        whole = read_file(head + frames)
        assert (len(whole.records), whole.reasons) == (40, ["skippable_frame"])
        assert read_file(head + frames, split_bytes=2_000).outcomes == whole.outcomes
    refused = read_file(zstd(RECORDS[0]) + frames)
    assert (len(refused.records), refused.reasons) == (1, ["bad_zstd"])


def arc_record(number: int, *, url: str = "", length: int | str | None = None, more: str = "") -> bytes:
    body = b"HTTP/1.0 200 OK\r\n\r\n" + noise(number * 37 % 900, number)
    url = url or f"http://site.test/{number}"
    line = f"{url} 1.2.3.4 20080430204825 text/html {more}{len(body) if length is None else length}\n"
    return line.encode() + body + b"\n"


VERSION = b"1 0 InternetArchive\nURL IP-address Archive-date Content-type Archive-length\n"
ARC_HEAD = b"filedesc://x.arc 0.0.0.0 20080430000000 text/plain %d\n%s\n" % (len(VERSION), VERSION)


@pytest.mark.parametrize("packing", ["plain", "members", "whole"])
def test_arc_files(read_file, packing):
    dns = b"dns:site.test 1.2.3.4 20080430204825 text/dns 15\n20080430\n1.2.3.4\n"[:-3] + b"\n"
    pages = [arc_record(n, more="200 - - 77 x.arc " if n % 2 else "") for n in range(40)]
    pages[7] = arc_record(7, url="http://site.test/with spaces/7")
    records = [ARC_HEAD, dns, *pages]
    content = {
        "plain": b"".join(records),
        "members": b"".join(map(gzip.compress, records)),
        "whole": gzip.compress(b"".join(records)),
    }[packing]
    reading = read_file(content)
    assert [record.payload for record in reading.records] == [
        page.partition(b"\n")[2].removesuffix(b"\n") for page in pages
    ]
    assert reading.reasons == ["record_type"] * 2
    assert reading.records[7].url == "http://site.test/with spaces/7"
    assert {record.date for record in reading.records} == {"2008-04-30T20:48:25Z"}
    for split_bytes in (211, 5_003):
        assert read_file(content, split_bytes=split_bytes).outcomes == reading.outcomes


@pytest.mark.parametrize(("length", "reason"), [(9, "bad_length"), ("-1", "bad_record_header")])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_damage_in_arc_files_costs_one_record(read_file, compress, length, reason):
    records = [ARC_HEAD, *(arc_record(n, length=length if n == 3 else None) for n in range(2, 8))]
    reading = read_file(b"".join(map(compress, records)))
    assert [record.url[-1] for record in reading.records] == list("24567")
    assert reading.reasons == ["record_type", reason]
    cut = read_file(b"".join(map(compress, records))[:-5])
    assert [record.url[-1] for record in cut.records] == list("2456")
    assert cut.reasons[-1] == ("truncated_record" if compress is bytes else "truncated_gzip")


def test_empty_files(read_file):
    assert read_file(b"").outcomes == []
    assert read_file(b"\r\n\r\n").reasons == ["empty_member"]
    assert read_file(gzip.compress(b"")).reasons == ["empty_member"]


def warcio_pages(path: Path) -> list[str]:
    """Digests of the pages up to the end, or to before the record at which warcio gives up.

    It does where a record is two members, or a file one member, or a line end is missing.
    """
    pages = []
    with path.open("rb") as content:
        try:
            for record in ArchiveIterator(content, no_record_parse=True, arc2warc=True):
                digest = hashlib.sha256(record.raw_stream.read()).hexdigest()
                if record.rec_type in ("response", "conversion"):
                    pages.append(digest)
        except ArchiveLoadFailed:
            return pages[:-1]
    return pages


@pytest.fixture(scope="module")
def warc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = DATA / "warc.tar.gz"
    if not archive.exists():
        pytest.skip("the real archives of shared/data are not here")
    folder = tmp_path_factory.mktemp("warc")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


def is_archive(path: Path) -> bool:
    return path.is_file() and bool(re.search(r"\.(w?arc|wat|wet|gz|bad)(\.|$)", path.name))


# Files in which warcio finds more pages than ours: it gives a record up to the end of the file, or without a
# length, for a whole one. Each of these has to be a skip with its reason.
REFUSED = {"bad.arc": 2, "example-space-in-url.arc": 1, "example-trunc.warc": 1}


def test_all_real_files_as_warcio_reads_them(read_file, warc_folder):
    """Every archive, index and broken file of the collection: the pages that warcio gives, in order, and
    more where it gives up; or a counted reason.
    """
    paths = sorted(filter(is_archive, warc_folder.rglob("*")))
    assert len(paths) > 50
    pages = 0
    for path in paths:
        reading = read_file(path)
        digests = [hashlib.sha256(r.payload).hexdigest() for r in reading.records if r.media != "html"]
        expected = [] if ".cdx" in path.name else warcio_pages(path)
        missing = [digest for digest in expected if digest not in digests]
        kept = iter(digests)
        assert all(digest in kept for digest in expected if digest not in missing), f"order of {path}"
        assert len(missing) == REFUSED.get(path.name, 0), path
        assert len(missing) <= sum(skip.quarantine for skip in reading.skips), path
        pages += len(digests)
        split_bytes = max(1_000, path.stat().st_size // 20)
        assert read_file(path, split_bytes=split_bytes).outcomes == reading.outcomes, path
    assert pages > 120


# warcio takes one of these bodies for chunked, and reads one character short of the other.
OURS_IS_LONGER = {"example-wrong-chunks.warc.gz", "example-extra.warc"}


def test_bodies_of_real_files_as_warcio_decodes_them(read_file, warc_folder):
    same = 0
    for path in sorted(filter(is_archive, warc_folder.rglob("*"))):
        theirs = {}
        with path.open("rb") as content, suppress(ArchiveLoadFailed):
            for record in ArchiveIterator(content, arc2warc=True):
                if record.rec_type == "response" and record.http_headers:
                    name = record.rec_headers.get_header("WARC-Target-URI")
                    theirs[name, record.rec_headers.get_header("WARC-Date")] = record.content_stream().read()
        for record in read_file(path).records:
            page = decode_http_response(record.payload, max_bytes=1 << 28, max_ratio=1000)
            if record.media == "http" and not isinstance(page, str) and (record.url, record.date) in theirs:
                expected = theirs[record.url, record.date]
                assert page.body == expected or (path.name in OURS_IS_LONGER and expected in page.body), path
                same += page.body == expected
    assert same > 40
