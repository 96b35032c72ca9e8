import datetime
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FIELDS = {"text": "body", "id": "key", "url": "url", "date": "day"}
TEXTS = [f"text {n} " * (n % 40) for n in range(1_000)]


def write(path, table, **options):
    pq.write_table(table, path, **{"row_group_size": 100, "compression": "zstd", **options})
    return path


@pytest.fixture
def table() -> pa.Table:
    return pa.table(
        {
            "body": TEXTS,
            "key": list(range(1_000)),
            "url": pa.array([f"http://a.test/{n % 10}" for n in range(1_000)]).dictionary_encode(),
            "day": [datetime.date(2026, 1, 1)] * 1_000,
            "unwanted": ["x" * 500] * 1_000,
        }
    )


@pytest.mark.parametrize("split_bytes", [1 << 30, 20_000, 3_000, 500])
@pytest.mark.parametrize("use_dictionary", [["body"], False])
def test_rows_in_any_split(read_file, tmp_path, table, split_bytes, use_dictionary):
    path = write(tmp_path / "a.parquet", table, use_dictionary=use_dictionary)
    reading = read_file(path, format="parquet", split_bytes=split_bytes, fields=FIELDS)
    assert [record.payload.decode() for record in reading.records] == TEXTS
    assert [record.offset for record in reading.records] == list(range(1_000))
    record = reading.records[321]
    assert (record.source_id, record.url, record.date) == ("321", "http://a.test/1", "2026-01-01")
    assert (record.length, record.index, record.media) == (0, 0, "text")
    assert not reading.skips


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary()])
def test_kinds_of_text(read_file, tmp_path, kind):
    path = write(tmp_path / "a.parquet", pa.table({"text": pa.array(["a", None, "文本"]).cast(kind)}))
    reading = read_file(path, format="parquet")
    assert [record.payload.decode() for record in reading.records] == ["a", "文本"]
    assert (reading.reasons, reading.skips[0].offset) == (["missing_text"], 1)


def test_rows_that_are_no_text(read_file, tmp_path):
    values = pa.array([b"ok", b"\xff\xfe", b"x" * 2_000], pa.binary())
    path = write(tmp_path / "a.parquet", pa.table({"text": values}))
    assert read_file(path, format="parquet", max_record_bytes=1_000).reasons == [
        "not_utf8",
        "record_too_large",
    ]
    for column in (
        pa.table({"text": [1, 2]}),
        pa.table({"other": ["a", "b"]}),
        pa.table({"text": [["a"], None]}),
    ):
        assert read_file(write(path, column), format="parquet").reasons == ["missing_text"] * 2


def test_files_without_rows(read_file, tmp_path):
    empty = pa.table({"text": pa.array([], pa.string())})
    assert read_file(write(tmp_path / "a.parquet", empty), format="parquet").outcomes == []
    assert read_file(b"", format="parquet").reasons == ["bad_parquet"]
    assert read_file(b"PAR1 is no parquet PAR1", format="parquet", split_bytes=7).reasons == ["bad_parquet"]


def test_a_damaged_row_group_costs_itself(read_file, tmp_path, table):
    path = write(tmp_path / "a.parquet", table, use_dictionary=False, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(4).column(0)
    content[chunk.data_page_offset + chunk.total_compressed_size - 20] ^= 1
    reading = read_file(bytes(content), format="parquet", fields=FIELDS)
    assert (len(reading.records), reading.reasons) == (900, ["bad_parquet"])
    assert reading.skips[0].offset == 400
    assert (
        read_file(bytes(content), format="parquet", fields=FIELDS, split_bytes=2_000).outcomes
        == reading.outcomes
    )


def test_bombs_are_refused(read_file, tmp_path):
    texts = pa.table({"text": ["x" * (1 << 20)] * 20})
    path = write(tmp_path / "a.parquet", texts, use_dictionary=False, row_group_size=20)
    assert read_file(path, format="parquet").reasons == ["ratio_cap"]


def test_corruption_never_raises(read_file, tmp_path, table):
    sound = write(
        tmp_path / "a.parquet", table.slice(0, 200), row_group_size=50, write_page_checksum=True
    ).read_bytes()
    for seed in range(60):
        choose = random.Random(seed)
        content = bytearray(sound)
        content[choose.randrange(len(content))] ^= 1 << choose.randrange(8)
        if seed % 5 == 0:
            del content[choose.randrange(len(content)) :]
        read_file(bytes(content), format="parquet", fields=FIELDS, split_bytes=3_000)


def test_licences_are_never_taken_for_none(read_file, tmp_path):
    for column, read in (
        (["CC0-1.0 ", None, ""], ["CC0-1.0", "", ""]),
        ([["MIT", "GPL-3.0"], None, []], ['["MIT","GPL-3.0"]', "", "[]"]),
        ([b"MIT", b"\xff", None], ["MIT", "\ufffd", ""]),
        (pa.array([b"MIT", b"\xff", b""]).view(pa.string()), ["MIT", "\ufffd", ""]),
    ):
        table = pa.table({"text": ["a", "b", "c"], "license": column})
        path = write(tmp_path / "a.parquet", table)
        found = read_file(path, format="parquet", fields={"text": "text", "licence": "license"}).records
        assert [record.licence for record in found] == read
