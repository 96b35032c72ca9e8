"""Commit rows: the row is the commit, half a row is none, and a part is made once."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.ledger import OUT, Count
from pipeline.parts import PartWriter, read_batches
from pipeline.phase import Job, commit, fingerprint, is_done, need_rows, read_row, row_name
from pipeline.recipe_file import load_recipe

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(str(tmp_path), load_recipe("quickstart"), {}, parts=2, partitions=8)


def make_part(job: Job, number: int, texts: list[str], made_of: str = "f") -> None:
    count = Count()
    count.add("write", OUT, len(texts))
    with job.storage().scratch() as scratch:
        writer = PartWriter(scratch, "things", number, SCHEMA)
        writer.write(pa.record_batch([list(range(len(texts))), texts], schema=SCHEMA))
        commit(
            job,
            "things",
            number,
            made_of=made_of,
            files=[writer.finish()],
            count=count,
            notes={"n": len(texts)},
        )


def test_a_committed_part_is_found_and_read_back(job: Job) -> None:
    make_part(job, 0, ["one", "two"])
    row = read_row(job, "things", 0)
    assert row is not None and is_done(job, row, "f") and not is_done(job, row, "g")
    (batch,) = read_batches(job.storage(), row.file("things"), columns=["text"])
    assert batch["text"].to_pylist() == ["one", "two"]
    assert row.file("things").name == f"things/part-00000-{row.file('things').sha256[:12]}.parquet"


def test_the_same_part_twice_leaves_the_same_bytes(job: Job, tmp_path: Path) -> None:
    make_part(job, 0, ["one"])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    make_part(job, 0, ["one"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_half_a_row_is_no_row(job: Job) -> None:
    make_part(job, 0, ["one"])
    text = job.storage().read_bytes(row_name("things", 0))
    assert text is not None
    for length in (0, 10, len(text) // 2, len(text) - 1):
        job.storage().put_bytes(row_name("things", 0), text[:length])
        assert read_row(job, "things", 0) is None
    job.storage().put_bytes(row_name("things", 0), text.replace(b'"number": 0', b'"number": 1'))
    assert read_row(job, "things", 0) is None


def test_a_part_whose_file_is_gone_or_cut_is_not_done(job: Job) -> None:
    make_part(job, 0, ["one"])
    row = read_row(job, "things", 0)
    assert row is not None
    name = row.file("things").name
    content = job.storage().read_bytes(name) or b""
    job.storage().put_bytes(name, content[:-1])
    assert not is_done(job, row, "f")
    job.storage().delete(name)
    assert not is_done(job, row, "f")


def test_missing_rows_are_named(job: Job) -> None:
    make_part(job, 1, ["one"])
    with pytest.raises(RuntimeError, match=r"things is not complete.*\[0\]"):
        need_rows(job, "things", range(2))


def test_content_does_not_depend_on_batches_but_on_every_value(job: Job) -> None:
    contents = []
    for texts in (["one", "two", "three"], ["onet", "wo", "three"], ["one", "two", "threé"]):
        for cut in (1, 3):
            with job.storage().scratch() as scratch:
                writer = PartWriter(scratch, "things", 0, SCHEMA)
                for start in range(0, 3, cut):
                    part = texts[start : start + cut]
                    writer.write(
                        pa.record_batch([list(range(start, start + len(part))), part], schema=SCHEMA)
                    )
                contents.append(writer.finish().part.content)
    assert contents[0] == contents[1] and contents[2] == contents[3] and contents[4] == contents[5]
    assert len(set(contents)) == 3


def test_fingerprints_do_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 2, "b": 1})
