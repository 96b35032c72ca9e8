"""Damaged and hostile archives: each damage has its reason and costs what it touches; the bytes balance."""

import gzip
import random
import tracemalloc
import zlib
from functools import partial

import pytest
import zstandard

from pipeline.annotate.read.records import Record, SpanAccount, UnreadableSplit
from pipeline.annotate.read.split import read_split
from pipeline.annotate.splits import list_input_files, plan_splits


def warc_record(number: int, body: bytes = b"", *, length: int | str | None = None) -> bytes:
    body = b"HTTP/1.1 200 OK\r\n\r\n" + (body or f"page {number} ".encode() * 20)
    header = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://site.test/{number}\r\n"
    header += "Content-Type: application/http\r\n"
    if length != "":
        header += f"Content-Length: {len(body) if length is None else length}\r\n"
    return header.encode() + b"\r\n" + body + b"\r\n\r\n"


def urls(reading) -> list[int]:
    return [int(record.url.rpartition("/")[2]) for record in reading.records]


def zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


GZIPPED = [gzip.compress(warc_record(n)) for n in range(6)]
PLAIN = [warc_record(n) for n in range(6)]
OTHERS = [0, 1, 3, 4, 5]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize(
    ("length", "reason"),
    [(10, "bad_length"), (300, "bad_length"), ("", "bad_record_header"), ("-1", "bad_record_header")]
    + [("9" * 15, "truncated_record"), ("9" * 400, "bad_record_header")],
)
def test_a_wrong_content_length_costs_one_record(read_file, pack, length, reason):
    records = [warc_record(n, length=length if n == 2 else None) for n in range(6)]
    reading = read_file(b"".join(map(pack, records)))
    if pack is not bytes and length == 300:
        reason = "truncated_record"  # the member ends there
    assert (urls(reading), reading.reasons) == (OTHERS, [reason])
    assert reading.skips[0].url == "http://site.test/2"
    assert reading.skips[0].raw in (records[2], pack(records[2]))
    assert reading.skips[0].quarantine


def test_a_wrong_content_length_inside_one_big_member_costs_one_record(read_file):
    records = [warc_record(n, length=100 if n == 2 else None) for n in range(6)]
    reading = read_file(gzip.compress(b"".join(records)))
    assert (urls(reading), reading.reasons) == (OTHERS, ["bad_length"])
    assert [outcome.index for outcome in reading.outcomes] == list(range(6))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda member: member[:-30], "bad_gzip"),  # inflates into the next member
        (lambda member: member[:60] + b"\xff\xff\xff" + member[63:], "bad_gzip"),
        (lambda member: member[:-8] + b"\0\0\0\0" + member[-4:], "bad_gzip"),  # checksum
        (lambda member: b"garbage" * 50, "unparsed_bytes"),
        (lambda member: b"\0" * 5_000, "unparsed_bytes"),
        (lambda member: gzip.compress(b"not a record\n" * 9), "unparsed_bytes"),
    ],
)
def test_damage_between_sound_members(read_file, damage, reason):
    members = GZIPPED[:2] + [damage(GZIPPED[2])] + GZIPPED[3:]
    reading = read_file(b"".join(members))
    assert (urls(reading), reading.reasons) == (OTHERS, [reason])
    skip = reading.skips[0]
    assert (skip.offset, skip.length) == (len(b"".join(members[:2])), len(members[2]))
    assert read_file(b"".join(members), split_bytes=137).outcomes == reading.outcomes


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_the_end_of_a_file_is_missing(read_file, cut):
    gzipped = read_file(b"".join(GZIPPED)[:-cut])
    assert (urls(gzipped), gzipped.reasons) == ([0, 1, 2, 3, 4], ["truncated_gzip"])
    zstds = read_file(b"".join(map(zstd, PLAIN))[:-cut])
    assert (urls(zstds), zstds.reasons) == ([0, 1, 2, 3, 4], ["truncated_zstd"])
    plain = read_file(b"".join(PLAIN)[: -cut - 4])
    assert (urls(plain), plain.reasons) == ([0, 1, 2, 3, 4], ["truncated_record"])


def test_gzip_header_fields_and_empty_members(read_file):
    member = GZIPPED[0]
    extra = member[:3] + b"\x1e" + member[4:10] + b"\x05\0extra" + b"name\0" + b"comment\0"
    extra += (zlib.crc32(extra) & 0xFFFF).to_bytes(2, "little") + member[10:]
    reading = read_file(extra + gzip.compress(b"") + GZIPPED[1] + gzip.compress(b"\r\n\r\n") + GZIPPED[2])
    assert (urls(reading), reading.reasons) == ([0, 1, 2], ["empty_member"] * 2)


def test_a_damaged_head_does_not_cost_the_file(read_file):
    for content in (
        b"junk\n" + b"".join(PLAIN),
        b"junk" + b"".join(GZIPPED),
        b"junk" + b"".join(map(zstd, PLAIN)),
    ):
        reading = read_file(content)
        assert (urls(reading), reading.reasons) == ([0, 1, 2, 3, 4, 5], ["unparsed_bytes"])


@pytest.mark.parametrize(
    "pack", [bytes, partial(gzip.compress, compresslevel=1), zstd], ids=["plain", "gzip", "zstd"]
)
def test_records_over_the_cap_are_passed_without_being_held(read_file, pack):
    large = warc_record(2, random.Random(2).randbytes(1 << 20) * 12)
    content = b"".join(map(pack, [*PLAIN[:2], large, *PLAIN[3:]]))
    del large
    tracemalloc.start()
    reading = read_file(content, max_record_bytes=100_000)
    assert tracemalloc.get_traced_memory()[1] < 9 << 20
    tracemalloc.stop()
    assert (urls(reading), reading.reasons) == (OTHERS, ["record_too_large"])
    assert reading.skips[0].url == "http://site.test/2"


def test_bombs_are_refused(read_file):
    bomb = gzip.compress(warc_record(2, b"\0" * (30 << 20)), 9)
    reading = read_file(b"".join([*GZIPPED[:2], bomb, *GZIPPED[3:]]), max_record_bytes=100 << 20)
    assert (urls(reading), reading.reasons) == (OTHERS, ["ratio_cap"])
    zeros = zstandard.ZstdCompressor(write_checksum=True).compress(warc_record(2, b"\0" * (30 << 20)))
    frames = list(map(zstd, PLAIN))
    reading = read_file(b"".join([*frames[:2], zeros, *frames[3:]]), max_record_bytes=100 << 20)
    assert (urls(reading), reading.reasons) == (OTHERS, ["ratio_cap"])
    line_ends = gzip.compress(b"\r\n" * (20 << 20), 9)
    assert read_file(line_ends + GZIPPED[0]).reasons == ["ratio_cap"]


def test_endless_headers_and_line_ends(read_file):
    header = b"WARC/1.0\r\n" + b"X-Long: value\r\n" * 20_000
    assert read_file(header + b"\r\n" + PLAIN[0]).reasons == ["bad_record_header"]
    assert urls(read_file(b"\n" * 300_000 + PLAIN[0])) == [0]


@pytest.mark.parametrize("packing", ["plain", "gzip", "gzip_whole", "zstd"])
def test_corruption_never_raises_and_always_balances(read_file, packing):
    pages = [warc_record(n, random.Random(n).randbytes(n % 7 * 90) + b"text " * 50) for n in range(12)]
    sound = {
        "plain": b"".join(pages),
        "gzip": b"".join(map(gzip.compress, pages)),
        "gzip_whole": gzip.compress(b"".join(pages)),
        "zstd": b"".join(map(zstd, pages)),
    }[packing]
    kept = 0
    for seed in range(150):
        choose = random.Random(seed)
        content = bytearray(sound)
        for _ in range(choose.randint(1, 3)):
            at = choose.randrange(len(content))
            kind = choose.choice(["flip", "cut", "delete", "insert", "repeat"])
            if kind == "flip":
                content[at] ^= 1 << choose.randrange(8)
            elif kind == "cut":
                del content[max(at, 50) :]
            elif kind == "delete":
                del content[at : at + choose.randrange(1, 400)]
            elif kind == "insert":
                content[at:at] = choose.randbytes(choose.randrange(1, 400))
            else:
                content[at:at] = content[at : at + choose.randrange(1, 2_000)]
        reading = read_file(bytes(content))
        kept += len(reading.records)
        assert (
            read_file(bytes(content), split_bytes=choose.randrange(300, 3_000)).outcomes == reading.outcomes
        ), seed
    assert kept > 150 * (5 if packing != "gzip_whole" else 1)  # of 12, through up to three wounds


def test_unreadable_files_fail_the_split(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(GZIPPED))
    (split,) = plan_splits(list_input_files([str(path)]), format="warc", split_bytes=1 << 30)
    read = partial(
        read_split,
        split,
        format="warc",
        fields={},
        max_record_bytes=1 << 20,
        max_ratio=100,
        account=SpanAccount(),
    )
    assert all(isinstance(outcome, Record) for outcome in read())
    path.write_bytes(b"".join(GZIPPED[:3]))
    with pytest.raises(UnreadableSplit, match="when the work was planned"):
        list(read())
    path.unlink()
    with pytest.raises(UnreadableSplit, match=r"a\.warc\.gz"):
        list(read())
