"""Bounded random access to one file: the only place where a reader touches storage.

At most one block (1 MiB, or what one call asks for) is in memory. Every failure of the storage, and a file
whose size is not the planned one, becomes UnreadableSplit here, so that what the other modules see go wrong
is damage.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from pipeline.annotate.read.records import UnreadableSplit
from pipeline.annotate.splits import Span
from pipeline.storage import open_filesystem

BLOCK_BYTES = 1 << 20


class Window:
    """A view of `size` bytes of an open file."""

    def __init__(self, file: pa.NativeFile, size: int, path: str = "") -> None:
        self.file = file
        self.size = size
        self.path = path
        self._start = 0
        self._block = b""

    def at(self, position: int, count: int) -> bytes:
        """The bytes [position, position + count) of the file: fewer only where the file ends."""
        count = min(count, self.size - position)
        if count <= 0:
            return b""
        begin = position - self._start
        if begin < 0 or begin + count > len(self._block):
            self._load(position, min(max(count, BLOCK_BYTES), self.size - position))
            begin = 0
        return self._block[begin : begin + count]

    def search(self, pattern: re.Pattern[bytes], start: int, *, margin: int) -> int:
        """Where the pattern first matches from `start` on, or `size`; it looks at `margin` bytes on each
        side.
        """
        position = start
        while position < self.size:
            low = max(position - margin, 0)
            block = self.at(low, BLOCK_BYTES)
            last = low + len(block) >= self.size
            found = pattern.search(block, position - low)
            if found and (last or found.start() + margin <= len(block)):
                return low + found.start()
            if last:
                break
            position = low + len(block) - margin
        return self.size

    def _load(self, position: int, count: int) -> None:
        try:
            self.file.seek(position)
            block = self.file.read(count)
        except (OSError, pa.ArrowException) as error:
            raise UnreadableSplit(self.path, str(error)) from error
        if len(block) != count:
            raise UnreadableSplit(
                self.path, f"ends at byte {position + len(block)}, not at {self.size} as planned"
            )
        self._start, self._block = position, block


@contextmanager
def open_window(span: Span) -> Iterator[Window]:
    """The file of a span; UnreadableSplit if it is gone, may not be read or has another size than planned."""
    path = f"{span.root}/{span.path}"
    try:
        filesystem, inner = open_filesystem(path)
        file = filesystem.open_input_file(inner)
        size = file.size()
    except (OSError, pa.ArrowException) as error:
        raise UnreadableSplit(path, str(error)) from error
    with file:
        if size != span.file_bytes:
            raise UnreadableSplit(path, f"has {size} bytes, {span.file_bytes} when the work was planned")
        yield Window(file, size, path)
