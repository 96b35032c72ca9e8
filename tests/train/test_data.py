"""Shards as training rows: the golden files, lineage, damage, mixtures, and prefetching."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import train.rows
from pipeline.pack.shards import read_rows
from train.config import Parallel
from train.data import Stream, prefetch
from train.loop import step_batches
from train.parallel import open_world
from train.rows import DataError, TokenRows, find_unknown

WriteRun = Callable[..., Path]


def test_golden_shards(golden: Path) -> None:
    """The ids of the golden files follow a closed rule, by document and place in it."""
    dataset = TokenRows(golden, "train")
    assert (dataset.rows, dataset.row_tokens, dataset.n_vocab, dataset.eot) == (18, 2048, 151_851, 151_643)
    ids, lengths = dataset.read(np.arange(18)), dataset.lengths(np.arange(18))
    assert lengths.tolist() == [2048] * 17 + [36_015 - 17 * 2048]
    row_starts = dataset.row_starts(np.arange(18))
    seen = 0
    for row in range(18):
        pieces = dataset.pieces(row)
        ends = [piece.row_start for piece in pieces[1:]] + [int(lengths[row])]
        assert row_starts[row].tolist() == [piece.row_start for piece in pieces]
        for piece, end in zip(pieces, ends, strict=True):
            place = slice(piece.row_start, end)
            document = piece.locator & 0xFFFFFFFF
            text = ids[row, place].astype(np.int64)
            body = text[:-1] if text[-1] == dataset.eot else text
            places = piece.doc_start + np.arange(len(body))
            assert np.array_equal(body, (document * 7919 + places * 104_729) % 151_643)
            seen += len(text)
    assert seen == 36_015
    assert TokenRows(golden, "validation").rows == 2


def test_rows_are_what_the_pipeline_reads(shards_folder: Path) -> None:
    dataset = TokenRows(shards_folder, "train")
    assert dataset.shard_rows == (29, 22)
    order = np.random.default_rng(0).permutation(dataset.rows)
    ids = dataset.read(order)
    for place, row in enumerate(order.tolist()):
        shard, inside = (0, row) if row < 29 else (1, row - 29)
        theirs = read_rows(dataset.paths[shard], [inside])
        assert np.array_equal(ids[place], theirs.ids[0])
        assert dataset.lengths(np.array([row]))[0] == theirs.length[0]
        assert dataset.name(row) == f"train-{shard:05d}:{inside}"


def test_shards_are_let_go(shards_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one map, rows of two shards still come right, in any order."""
    plain = TokenRows(shards_folder, "train")
    expected = plain.read(np.arange(plain.rows))
    monkeypatch.setattr(train.rows, "OPEN_SHARDS", 1)
    dataset = TokenRows(shards_folder, "train")
    for rows in (np.array([3]), np.array([40]), np.array([50, 2, 30, 7]), np.array([0])):
        assert np.array_equal(dataset.read(rows), expected[rows])


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """A shard with other columns, and its size put right in the manifest."""
    table = pa.ipc.open_file(path).read_all()
    table = change(table)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    manifest = path.parents[1] / "MANIFEST.json"
    told = json.loads(manifest.read_text())
    for entry in told["tokens"]["train"]:
        entry["bytes"] = (path.parents[1] / entry["file"]).stat().st_size
    manifest.write_text(json.dumps(told))


def with_ids(ids: np.ndarray) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        column = pa.FixedSizeListArray.from_arrays(pa.array(ids.reshape(-1)), ids.shape[1])
        return table.set_column(0, table.schema.field(0), column)

    return change


@pytest.mark.parametrize("wrong", [256, -1])
def test_unknown_token_ids_are_refused(tmp_path: Path, write_run: WriteRun, wrong: int) -> None:
    folder = write_run(tmp_path / "out")
    dataset = TokenRows(folder, "train")
    ids = dataset.read(np.arange(29))
    ids[5, 7] = wrong
    rewrite(dataset.paths[0], with_ids(ids))
    damaged = TokenRows(folder, "train")
    assert find_unknown(damaged.read(np.array([4, 6])), 256) is None
    assert find_unknown(damaged.read(np.array([4, 5, 6])), 256) == 1
    stream = Stream([damaged], [1.0], seed=0)
    rows = stream.locate(np.arange(51))[2]
    before = np.arange(int(np.flatnonzero(rows == 5)[0]))
    stream.check(before, stream.read(before).ids)
    after = np.arange(51)
    with pytest.raises(DataError, match=r"out: train-00000:5 has an id outside of 0\.\.255"):
        stream.check(after, stream.read(after).ids)
    with open_world(Parallel(device="cpu")) as world, pytest.raises(DataError, match="train-00000:5 has"):
        next(step_batches(stream, 0, 51, 51, world))


def test_manifest_and_shards_must_agree(tmp_path: Path, write_run: WriteRun) -> None:
    folder = write_run(tmp_path / "out")
    path = folder / "MANIFEST.json"
    told = json.loads(path.read_text())
    entry = told["tokens"]["train"][0]

    def with_entry(**changes: object) -> None:
        tokens = {**told["tokens"], "train": [{**entry, **changes}, *told["tokens"]["train"][1:]]}
        path.write_text(json.dumps({**told, "tokens": tokens}))

    fingerprint = TokenRows(folder, "train").fingerprint
    with_entry(sha256="f" * 64)
    assert TokenRows(folder, "train").fingerprint != fingerprint
    with_entry(bytes=entry["bytes"] + 1)
    with pytest.raises(DataError, match=r"train-00000\.arrow: not there"):
        TokenRows(folder, "train")
    with_entry(rows=28)
    with pytest.raises(DataError, match="rows, vocabulary"):
        TokenRows(folder, "train").read(np.array([0]))
    with_entry(tokens=entry["tokens"] - 1)
    with pytest.raises(DataError, match="its last row"):
        TokenRows(folder, "train").read(np.array([0]))
    path.write_text(json.dumps({**told, "ledger": [{"phase": "pack"}], "balanced": False}))
    with pytest.raises(DataError, match="does not balance"):
        TokenRows(folder, "train")
    path.write_text(json.dumps({**told, "format": 2}))
    with pytest.raises(DataError, match="format 2"):
        TokenRows(folder, "train")
    path.unlink()
    with pytest.raises(DataError, match="sluice run"):
        TokenRows(folder, "train")


def test_mixture(tmp_path: Path, write_run: WriteRun) -> None:
    """Two runs by weight: every sample is a row of the dataset it is said to be of, with its lineage."""
    first = TokenRows(write_run(tmp_path / "a"), "train")
    second = TokenRows(write_run(tmp_path / "b", seed=5, shard_tokens=(300,)), "train")
    stream = Stream([first, second], [3.0, 1.0], seed=2, with_documents=True)
    drawn = np.arange(5000, 5400)
    _, chosen, rows, lengths = stream.locate(drawn)
    batch = stream.read(drawn)
    assert 0.2 < chosen.mean() < 0.3
    assert batch.row_starts is not None
    for place in range(0, 400, 7):
        dataset, row = stream.datasets[chosen[place]], rows[place : place + 1]
        assert np.array_equal(batch.ids[place], dataset.read(row)[0])
        assert np.array_equal(batch.row_starts[place], dataset.row_starts(row)[0])
        assert lengths[place] == batch.lengths[place] == dataset.lengths(row)[0]
    place = stream.places(drawn[:1])[0]
    assert (place.dataset, place.sample) == (chosen[0], 5000)
    assert place.name == stream.datasets[place.dataset].name(int(rows[0]))
    assert place.pieces == stream.datasets[place.dataset].pieces(int(rows[0]))


def test_unlike_datasets_are_refused(tmp_path: Path, write_run: WriteRun, shards_folder: Path) -> None:
    datasets = [TokenRows(shards_folder, "train")]
    other = [TokenRows(write_run(tmp_path / "a", sha256="1" * 64), "train")]
    with pytest.raises(DataError, match="vocabulary 111111111111 in rows of 32"):
        Stream(datasets + other, [1.0, 1.0], seed=0)
    empty = write_run(tmp_path / "b", shard_tokens=())
    with pytest.raises(DataError, match="no train rows"):
        Stream([TokenRows(empty, "train")], [1.0], seed=0)


def test_any_start_and_any_cut_give_the_same_samples(shards_folder: Path) -> None:
    """Reading from the middle, in pieces or at once, with one process or another: the same rows."""
    whole = Stream([TokenRows(shards_folder, "train")], [1.0], seed=3).read(np.arange(4000, 4300))
    pieces = [np.arange(4250, 4300), np.arange(4000, 4003), np.arange(4003, 4250)]
    read = {
        start: Stream([TokenRows(shards_folder, "train")], [1.0], seed=3).read(piece).ids
        for piece in pieces
        for start in [int(piece[0])]
    }
    assert np.array_equal(whole.ids, np.concatenate([read[key] for key in sorted(read)]))
    far = Stream([TokenRows(shards_folder, "train")], [1.0], seed=3, skips=((0, 10**15),))
    assert far.read(np.arange(4)).ids.shape == (4, 32)
    assert far.places(np.arange(1))[0].sample == 10**15


def test_fingerprint_knows_what_decides_the_order(shards_folder: Path) -> None:
    dataset = TokenRows(shards_folder, "train")
    streams = [
        Stream([dataset], [1.0], seed=1),
        Stream([dataset], [1.0], seed=2),
        Stream([dataset], [1.0], seed=1, window=1),
        Stream([dataset, dataset], [1.0, 1.0], seed=1),
        Stream([dataset, dataset], [1.0, 2.0], seed=1),
    ]
    assert len({stream.fingerprint for stream in streams}) == 5
    assert Stream([dataset], [7.0], seed=1, skips=((1, 2),)).fingerprint == streams[0].fingerprint


def test_prefetch() -> None:
    made = []

    def numbers():
        for number in range(100):
            made.append(number)
            yield number

    ahead = prefetch(numbers())
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    ahead.close()
    count = len(made)
    time.sleep(0.05)
    assert count == len(made) <= 7  # it has stopped, and was never far ahead
    assert list(prefetch(iter(range(5)))) == list(range(5))

    def failing():
        yield 1
        raise DataError("row 7")

    ahead = prefetch(failing())
    assert next(ahead) == 1
    with pytest.raises(DataError, match="row 7"):
        next(ahead)
