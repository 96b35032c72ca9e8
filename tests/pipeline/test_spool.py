"""Blocks of local shuffles on disk."""

from pathlib import Path

import pytest

from pipeline.spool import SpoolWriter, drop_blocks, read_block


def test_blocks_come_back_by_their_places(tmp_path: Path) -> None:
    blocks = [bytes([number]) * size for number, size in enumerate((3, 0, 70_000, 1))]
    places = {}
    for key in (0, 7):
        with SpoolWriter(str(tmp_path), "work/candidates", 1, key) as spooled:
            places[key] = [spooled.put(block * (key + 1)) for block in blocks]
    assert all(len(place) == 24 for found in places.values() for place in found)
    for key, found in places.items():
        expected = [block * (key + 1) for block in blocks]
        assert [read_block(str(tmp_path), "work/candidates", 1, place) for place in found] == expected


def test_a_retry_writes_the_same_places(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        with SpoolWriter(str(tmp_path), "decisions", 1, 3) as spooled:
            found.append([spooled.put(b"ab"), spooled.put(b"cde")])
    assert found[0] == found[1]
    assert read_block(str(tmp_path), "decisions", 1, found[0][1]) == b"cde"


def test_a_step_that_is_over_leaves_nothing_and_others_alone(tmp_path: Path) -> None:
    for step in ("work/candidates", "work/groups"):
        with SpoolWriter(str(tmp_path), step, 1, 0) as spooled:
            place = spooled.put(b"rows")
    drop_blocks(str(tmp_path), "work/candidates")
    drop_blocks(str(tmp_path), "work/candidates")
    assert read_block(str(tmp_path), "work/groups", 1, place) == b"rows"
    with pytest.raises(FileNotFoundError):
        read_block(str(tmp_path), "work/candidates", 1, place)


def test_a_short_file_is_an_error(tmp_path: Path) -> None:
    with SpoolWriter(str(tmp_path), "decisions", 2, 0) as spooled:
        place = spooled.put(b"whole")
    (file,) = tmp_path.rglob("*.rows")
    file.write_bytes(b"who")
    with pytest.raises(OSError, match="ends before byte 5"):
        read_block(str(tmp_path), "decisions", 2, place)
