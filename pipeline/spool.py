"""Blocks of a local run's shuffles, on disk: the runner then groups references of 24 bytes, not the rows.

Beam's local GroupByKey keeps what it groups in the memory of the driver, about four times over, which would
grow with the corpus. A scatter writes its blocks into one file of its own and gives their places; whoever
gets a group reads its blocks back. Other runners shuffle on disk themselves, and their workers share none.
"""

import shutil
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

_PLACE = struct.Struct("<QQQ")  # key of the scatter that wrote the block, its first byte, its bytes


class SpoolWriter:
    """Writes the blocks of one key's scatter into shuffle number `shuffle` of a step, as a context."""

    def __init__(self, spool: str, step: str, shuffle: int, key: int) -> None:
        path = _path(spool, step, shuffle, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._key, self._end = path.open("wb"), key, 0

    def put(self, block: bytes) -> bytes:
        """The place of a block, which `read_block` takes once the writer is closed."""
        self._file.write(block)
        self._end += len(block)
        return _PLACE.pack(self._key, self._end - len(block), len(block))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_block(spool: str, step: str, shuffle: int, place: bytes) -> bytes:
    """A block that was put. OSError if it is not there whole."""
    key, start, size = _PLACE.unpack(place)
    path = _path(spool, step, shuffle, key)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        block = file.read(size)
    if len(block) != size:
        raise OSError(f"{path} ends before byte {start + size}")
    return block


def drop_blocks(spool: str, step: str) -> None:
    """Deletes all blocks of a step that is over."""
    shutil.rmtree(Path(spool, step), ignore_errors=True)


def _path(spool: str, step: str, shuffle: int, key: int) -> Path:
    return Path(spool, step, str(shuffle), f"{key}.rows")
