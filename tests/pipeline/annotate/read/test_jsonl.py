import gzip
import json
import random
import tracemalloc

import pytest
import zstandard

ROWS = [
    {"id": n, "url": f"http://a.test/{n}", "date": "2026", "text": "文本 " * (n % 9), "other": [n]}
    for n in range(50)
]
LINES = [json.dumps(row, ensure_ascii=n % 2 == 0).encode() + b"\n" for n, row in enumerate(ROWS)]
FIELDS = {"text": "text", "id": "id", "url": "url", "date": "date"}
CONTENT = b"".join(LINES)
PACKINGS = {
    "plain": CONTENT,
    "no_last_line_feed": CONTENT[:-1],
    "bom": b"\xef\xbb\xbf" + CONTENT,
    "crlf": CONTENT.replace(b"\n", b"\r\n"),
    "gzip": gzip.compress(CONTENT),
    "gzip_members": gzip.compress(CONTENT[:777])
    + gzip.compress(b"")
    + gzip.compress(CONTENT[777:])
    + b"\0" * 99,
    "zstd": zstandard.compress(CONTENT),
    "zstd_seekable": zstandard.compress(CONTENT[:999])
    + b"\x5e\x2a\x4d\x18\2\0\0\0xx"
    + zstandard.compress(CONTENT[999:]),
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("split_bytes", [1 << 30, 1_000, 97])
def test_every_packing_gives_the_same_rows_in_any_split(read_file, packing, split_bytes):
    reading = read_file(PACKINGS[packing], format="jsonl", split_bytes=split_bytes, fields=FIELDS)
    assert [record.payload.decode() for record in reading.records] == [row["text"] for row in ROWS]
    assert [record.source_id for record in reading.records] == [str(n) for n in range(50)]
    assert reading.records[7].url == "http://a.test/7" and reading.records[7].date == "2026"
    assert not reading.skips
    assert len({(record.offset, record.index) for record in reading.records}) == 50
    if split_bytes < 1 << 30:
        whole = read_file(PACKINGS[packing], format="jsonl", fields=FIELDS)
        assert reading.outcomes == whole.outcomes


@pytest.mark.parametrize("split_bytes", [1 << 30, 7_777, 101])
def test_empty_lines_belong_to_the_line_before(read_file, split_bytes):
    content = b"\n\r\n" + (b"\n" * 3 + b"\r\n\n").join(LINES) + b"\n" * 9_000
    reading = read_file(content, format="jsonl", split_bytes=split_bytes)
    assert (len(reading.records), reading.reasons) == (50, ["blank_line"])
    assert reading.outcomes == read_file(content, format="jsonl").outcomes
    compressed = read_file(gzip.compress(content + b"\n" * (5 << 20), 1), format="jsonl", max_ratio=1_100)
    assert (len(compressed.records), compressed.reasons) == (50, ["blank_line"])


def test_offsets_find_the_line_again(read_file):
    for record in read_file(CONTENT, format="jsonl").records:
        line = CONTENT[record.offset : record.offset + record.length]
        assert json.loads(line)["text"].encode() == record.payload


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{bad", "bad_json"),
        (b"[1, 2]", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b'{"text": "\xff"}', "bad_json"),
        (b'{"text": "\\ud800"}', "bad_json"),
        (b'{"text": NaN}', "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"body": "x"}', "missing_text"),
        (b'{"text": 5}', "missing_text"),
        (b'{"text": null}', "missing_text"),
        (b"  \t", "blank_line"),
        (b" \r", "blank_line"),
        (b'{"text": "' + b"x" * 200_000 + b'"}', "record_too_large"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_bad_line_costs_itself(read_file, line, reason, compress):
    content = compress(LINES[0] + line + b"\n" + LINES[1])
    reading = read_file(content, format="jsonl", max_record_bytes=150_000)
    assert (len(reading.records), reading.reasons) == (2, [reason])
    assert reading.skips[0].raw == (b"" if reason == "blank_line" else line)


def test_ids_of_other_types(read_file):
    lines = [b'{"text":"a","id":%s}\n' % value for value in (b"12", b'"x"', b"true", b"1.5", b"null", b"[1]")]
    ids = [
        record.source_id for record in read_file(b"".join(lines), format="jsonl", fields={"id": "id"}).records
    ]
    assert ids == ["12", "x", "", "", "", ""]


def test_fields_are_read_by_their_names(read_file):
    row = b'{"content": "hello", "text": "no", "link": "http://x"}'
    (record,) = read_file(row, format="jsonl", fields={"text": "content", "url": "link", "id": ""}).records
    assert (record.payload, record.url, record.source_id) == (b"hello", "http://x", "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(CONTENT)[:-20], "truncated_gzip"),
        (gzip.compress(CONTENT)[:-8] + b"\0" * 8, "bad_gzip"),
        (gzip.compress(CONTENT) + b"what is this", "unparsed_bytes"),
        (zstandard.compress(CONTENT)[:-20], "truncated_zstd"),
        (gzip.compress(CONTENT + b"\n" * (30 << 20)), "ratio_cap"),
        (zstandard.compress(CONTENT + b"x" * (30 << 20)), "ratio_cap"),
        (gzip.compress(b""), "empty_member"),
    ],
    ids=["cut gzip", "bad sum", "more behind", "cut zstd", "gzip bomb", "zstd bomb", "empty member"],
)
def test_damage_ends_a_compressed_file(read_file, content, reason):
    reading = read_file(content, format="jsonl")
    assert reading.reasons[-1] == reason
    assert set(reading.reasons[:-1]) <= {"blank_line"}


def test_a_line_without_end_is_never_held(read_file, tmp_path):
    path = tmp_path / "endless.jsonl"
    path.write_bytes(random.Random(1).randbytes(1 << 20).replace(b"\n", b" ") * 24)
    tracemalloc.start()
    assert read_file(path, format="jsonl", max_record_bytes=1 << 20).reasons == ["record_too_large"]
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_empty_file(read_file):
    assert read_file(b"", format="jsonl").outcomes == []


def test_corruption_never_raises(read_file):
    for seed in range(60):
        choose = random.Random(seed)
        content = bytearray(
            PACKINGS[choose.choice(["plain", "gzip", "gzip_members", "zstd", "zstd_seekable"])]
        )
        for _ in range(3):
            content[choose.randrange(len(content))] = choose.randrange(256)
        whole = read_file(bytes(content), format="jsonl")
        assert read_file(bytes(content), format="jsonl", split_bytes=300).outcomes == whole.outcomes


def test_licences_are_never_taken_for_none(read_file):
    values = (b'" CC0-1.0 "', b"null", b'""', b'["MIT","GPL-3.0"]', b"7", b"[]")
    rows = b"".join(b'{"text":"a","license":%s}\n' % value for value in values) + b'{"text":"a"}\n'
    read = [
        record.licence for record in read_file(rows, format="jsonl", fields={"licence": "license"}).records
    ]
    assert read == ["CC0-1.0", "", "", '["MIT","GPL-3.0"]', "7", "[]", ""]
    assert {record.licence for record in read_file(rows, format="jsonl", fields={"licence": ""}).records} == {
        ""
    }
