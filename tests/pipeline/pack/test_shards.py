import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pack.shard_check import check_shard
from pipeline.pack.shards import (
    ShardSummary,
    Stream,
    number_of_shards,
    open_shard,
    read_rows,
    trace_rows,
    write_shard,
)
from tokenizer_build.vocabulary import Vocabulary

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs ../shared/golden")
EOT = 300
VOCABULARY = Vocabulary(name="tiny", file="tiny.tiktoken", sha256="ab" * 32, n_vocab=508, eot=EOT)


def join(lengths: list[int], row_tokens: int, eot: int = EOT) -> Stream:
    """A stream of documents of these many tokens, all of them below eot."""
    starts = np.cumsum([0, *(length + 1 for length in lengths)])
    ids = np.full(-(-int(starts[-1]) // row_tokens) * row_tokens, eot, np.int32)
    for number, length in enumerate(lengths):
        ids[starts[number] : starts[number] + length] = (np.arange(length) * 7 + number) % eot
    locators = np.array([number << 32 | 5 for number in range(len(lengths))], np.uint64)
    return Stream(ids, starts.astype(np.int64), locators, np.arange(len(lengths), dtype=np.uint16) % 3)


def write(path: Path, stream: Stream, row_tokens: int) -> ShardSummary:
    return write_shard(path, stream, row_tokens=row_tokens, vocabulary=VOCABULARY, shard_number=3)


def slow_lineage(stream: Stream, row_tokens: int) -> list[list[dict]]:
    """Token by token: a piece starts where the document changes or the row does."""
    rows: list[list[dict]] = []
    document = 0
    for place in range(stream.tokens):
        if place == stream.starts[document + 1]:
            document += 1
        if place % row_tokens == 0:
            rows.append([])
        if place % row_tokens == 0 or place == stream.starts[document]:
            piece = {
                "locator": int(stream.locators[document]),
                "row_start": place % row_tokens,
                "doc_start": int(place - stream.starts[document]),
                "copy": int(stream.copies[document]),
            }
            rows[-1].append(piece)
    return rows


@given(st.lists(st.integers(0, 20), max_size=12), st.integers(2, 9))
def test_lineage_agrees_with_a_walk_over_the_tokens(tmp_path_factory, lengths, row_tokens):
    stream = join(lengths, row_tokens)
    expected = slow_lineage(stream, row_tokens)
    assert trace_rows(stream, row_tokens=row_tokens).to_pylist() == expected
    path = tmp_path_factory.getbasetemp() / "property.arrow"
    summary = write(path, stream, row_tokens)
    assert summary == check_shard(path)
    assert (summary.tokens, summary.documents) == (sum(lengths) + len(lengths), len(lengths))
    rows = read_rows(path, range(summary.rows))
    assert rows.documents.to_pylist() == expected
    assert np.array_equal(rows.ids.ravel(), stream.ids)
    assert rows.length.sum() == stream.tokens


def test_rows_are_found_across_batches(tmp_path):
    stream = join([6] * 9000, row_tokens=7)
    path = tmp_path / "shard.arrow"
    write(path, stream, 7)
    batches = open_shard(path).batches
    assert [batches.get_batch(i).num_rows for i in range(batches.num_record_batches)] == [4096, 4096, 808]
    asked = [8999, 0, 4096, 4095, 4096]
    rows = read_rows(path, asked)
    assert np.array_equal(rows.ids, stream.ids.reshape(-1, 7)[asked])
    assert [row[0]["locator"] >> 32 for row in rows.documents.to_pylist()] == asked
    assert check_shard(path).rows == open_shard(path).rows == 9000
    for outside in (9000, -1):
        with pytest.raises(IndexError, match=f"no row {outside}"):
            read_rows(path, [0, outside])
    assert len(read_rows(path, []).ids) == 0


def test_short_batches_are_found(tmp_path):
    path = tmp_path / "shard.arrow"
    write(path, join([7] * 20, row_tokens=8), 8)
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=10)
    with pytest.raises(ValueError, match="batch 0 has 10 rows, not 4096"):
        check_shard(path)


def test_an_empty_shard_is_a_shard(tmp_path):
    summary = write(tmp_path / "empty.arrow", join([], row_tokens=8), 8)
    assert (summary.rows, summary.tokens, summary.documents) == (0, 0, 0)
    assert check_shard(tmp_path / "empty.arrow") == summary


def test_a_stream_that_does_not_fill_its_rows_is_refused(tmp_path):
    stream = join([3, 4], row_tokens=8)
    with pytest.raises(ValueError, match="do not fill"):
        write(tmp_path / "x.arrow", stream, 4)


@pytest.mark.parametrize(
    ("tokens", "shard_count"),
    [(0, 1), (1, 1), (2048 * 65_536, 1), (2048 * 65_536 + 1, 2), (3 * 10**12, 22_352)],
)
def test_number_of_shards(tokens, shard_count):
    assert number_of_shards(tokens, 2048, 65_536) == shard_count


def rewrite(path: Path, change) -> None:
    """Writes a shard again with changed columns or metadata, as a careless tool would."""
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    table = change(table)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def set_value(table: pa.Table, name: str, row: int, value) -> pa.Table:
    values, field = table[name].to_pylist(), table.schema.field(name)
    values[row] = value
    return table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))


def change_piece(row: int, piece: int, **changes: int | None):
    def change(table: pa.Table) -> pa.Table:
        pieces = table["documents"][row].as_py()
        pieces[piece].update(changes)
        return set_value(table, "documents", row, pieces)

    return change


def with_metadata(**changes: str):
    def change(table: pa.Table) -> pa.Table:
        updates = {f"sluice.{key}".encode(): value.encode() for key, value in changes.items()}
        return table.replace_schema_metadata({**table.schema.metadata, **updates})

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda table: set_value(table, "input_ids", 1, [1] * 8), "digest is"),
        (lambda table: set_value(table, "length", 0, 7), "not full"),
        (lambda table: set_value(table, "length", 3, 8), "disagree on where documents start"),
        (lambda table: set_value(table, "length", 3, 5), "does not end with eot"),
        (lambda table: set_value(table, "length", 3, None), "holds nulls"),
        (lambda table: set_value(table, "documents", 1, []), "does not start with a piece"),
        (change_piece(1, 0, locator=9), "row 1: a piece does not go on"),
        (change_piece(1, 0, copy=9), "row 1: a piece does not go on"),
        (change_piece(1, 0, doc_start=1), "row 1: a piece does not go on"),
        (change_piece(1, 0, doc_start=0), "disagree on where documents start"),
        (change_piece(1, 1, row_start=1), "disagree on where documents start"),
        (change_piece(1, 1, row_start=0), "out of order"),
        (change_piece(1, 1, row_start=8), "beyond its row"),
        (change_piece(1, 1, row_start=None), "a piece holds nulls"),
        (with_metadata(digest="00"), "metadata say 00"),
        (with_metadata(format="2"), "shard format '2'"),
        (with_metadata(eot="x"), "without a usable"),
        (with_metadata(row_tokens="9"), "columns are"),
        (with_metadata(n_vocab="200"), "beyond the vocabulary"),
        (lambda table: table.drop_columns(["length"]), "columns are"),
        (lambda table: table.replace_schema_metadata(None), "shard format None"),
    ],
)
def test_damage_is_found(tmp_path, change, why):
    path = tmp_path / "shard.arrow"
    write(
        path, join([9, 4, 12, 1], row_tokens=8), 8
    )  # 30 tokens in 4 rows: pieces that end in and behind rows
    rewrite(path, lambda table: table)
    check_shard(path)
    rewrite(path, change)
    with pytest.raises(ValueError, match=why) as caught:
        check_shard(path)
    assert str(path) in str(caught.value)


def test_padding_must_be_eot(tmp_path):
    path = tmp_path / "shard.arrow"
    stream = join([5], row_tokens=8)
    stream.ids[-1] = 1
    write(path, stream, 8)
    with pytest.raises(ValueError, match="padding is not all eot"):
        check_shard(path)


def test_what_is_no_arrow_file_is_refused(tmp_path):
    path = tmp_path / "shard.arrow"
    path.write_bytes(b"not arrow at all, but long enough to hold a footer")
    with pytest.raises(ValueError, match="not an Arrow file"):
        open_shard(path)


@needs_golden
@pytest.mark.parametrize("split", ["train", "validation"])
def test_headers_are_accepted_and_made_again(tmp_path, split):
    path = GOLDEN / "tokens" / f"{split}-00000.arrow"
    summary = check_shard(path)
    manifest = json.loads((GOLDEN / "MANIFEST.json").read_text("utf-8"))
    [entry] = manifest["tokens"][split]
    assert (summary.rows, summary.tokens) == (entry["rows"], entry["tokens"])

    # Its documents, taken apart by lineage and eot and joined again, give the same file contents.
    golden = pa.ipc.open_file(path.read_bytes())
    header = open_shard(path)
    table = golden.read_all()
    ids = table["input_ids"].combine_chunks().flatten().to_numpy()
    starts = np.append(0, np.flatnonzero(ids[: summary.tokens] == header.eot) + 1)
    first = [piece for row in table["documents"].to_pylist() for piece in row if piece["doc_start"] == 0]
    stream = Stream(
        ids,
        starts,
        np.array([piece["locator"] for piece in first], np.uint64),
        np.array([piece["copy"] for piece in first], np.uint16),
    )
    vocabulary = Vocabulary("qwen", "qwen.tiktoken", header.vocabulary, header.n_vocab, header.eot)
    copy = tmp_path / path.name
    made = write_shard(
        copy,
        stream,
        row_tokens=header.row_tokens,
        vocabulary=vocabulary,
        shard_number=header.number,
    )
    assert made == summary
    ours = pa.ipc.open_file(copy.read_bytes())
    assert ours.schema.serialize().to_pybytes() == golden.schema.serialize().to_pybytes()
    assert ours.read_all().equals(table)


@needs_golden
def test_golden_ids_follow_their_rule():
    path = GOLDEN / "tokens" / "train-00000.arrow"
    rows = read_rows(path, range(open_shard(path).rows))
    for ids, pieces, length in zip(rows.ids, rows.documents.to_pylist(), rows.length, strict=True):
        bounds = [piece["row_start"] for piece in pieces[1:]] + [int(length)]
        for piece, end in zip(pieces, bounds, strict=True):
            found = ids[piece["row_start"] : end]
            place = piece["doc_start"] + np.arange(len(found))
            document = piece["locator"] & 0xFFFFFFFF
            expected = (document * 7919 + place * 104_729) % 151_643
            assert np.all((found == expected) | (found == 151_643))
            assert np.count_nonzero(found == 151_643) <= 1


def test_reading_shards_needs_neither_beam_nor_numba():
    heavy = {"apache_beam", "numba", "tiktoken"}
    command = (
        f"import sys, pipeline.pack.shards, pipeline.pack.shard_check; print(sys.modules.keys() & {heavy})"
    )
    root = Path(__file__).resolve().parents[3]
    found = subprocess.run(
        [sys.executable, "-c", command], cwd=root, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"
