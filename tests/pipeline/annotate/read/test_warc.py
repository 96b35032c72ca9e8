"""Healthy files of every packing, and the lists of records that another reader finds in real ones."""

import gzip
import hashlib
import random
import tarfile
from pathlib import Path

import pytest
import zstandard
from warcio.archiveiterator import WARCIterator
from warcio.exceptions import ArchiveLoadFailed

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


def test_arc_files_are_refused_whole(read_file):
    arc = b"filedesc://x.arc 0.0.0.0 20260101000000 text/plain 76\n1 0 InternetArchive\n\n\n"
    for content in (arc, gzip.compress(arc)):
        assert read_file(content, split_bytes=20).reasons == ["arc_record"]


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
            for record in WARCIterator(content, no_record_parse=True):
                digest = hashlib.sha256(record.raw_stream.read()).hexdigest()
                if record.rec_type in ("response", "conversion"):
                    pages.append(digest)
        except ArchiveLoadFailed:
            return pages[:-1]
    return pages


REAL_FILES = [
    "jwarc/**/*.warc.gz",
    "pywb/**/*.warc.gz",
    "warcio/**/*.warc.gz",
    "warcio/**/example.warc",
    "webarchive_commons/**/*.warc*",
    "whirlwind/whirlwind.warc*",
    "warc_specifications/**/*.warc.gz",
]


@pytest.fixture(scope="module")
def warc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = DATA / "warc.tar.gz"
    if not archive.exists():
        pytest.skip("the real archives of shared/data are not here")
    folder = tmp_path_factory.mktemp("warc")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("pattern", REAL_FILES)
def test_real_files_as_warcio_reads_them(read_file, warc_folder, pattern):
    paths = sorted(warc_folder.glob(f"**/{pattern}"))
    assert paths
    for path in paths:
        reading = read_file(path)
        expected = warcio_pages(path)
        digests = [hashlib.sha256(record.payload).hexdigest() for record in reading.records]
        assert digests[: len(expected)] == expected, path
        assert not any(skip.quarantine for skip in reading.skips), path
        split_bytes = max(1_000, path.stat().st_size // 20)
        assert read_file(path, split_bytes=split_bytes).outcomes == reading.outcomes, path
