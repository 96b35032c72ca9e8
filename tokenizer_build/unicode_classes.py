r"""Letters, numbers and white space as tiktoken's pattern engine sees them: one frozen table.

`unicode_classes.npz` is written by `python -m tokenizer_build.unicode_classes` and committed. It is found by
asking tiktoken 0.14's own engine about every code point (`\p{L}`, `\p{N}`, `\s`), because neither Python's
`unicodedata` nor the module `regex` has the same version of Unicode: Python 3.11 lacks 9,272 of its 141,028
letters. A test compares the table with the installed tiktoken; a newer table means other ids for a few rare
characters, so it is a decision, not an update.

Two levels: `blocks[code point >> 8]` names a block of 256 entries, 133 distinct ones; 42 kB in all, and the
blocks of one language lie in the first-level cache.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.buffers import read_only

TABLE_FILE = Path(__file__).with_name("unicode_classes.npz")
BLOCK_BITS = 8
CODE_POINTS = 0x110000
FOUR_BYTES = 0x200000  # what four bytes of (even broken) UTF-8 can spell: every lookup is inside the table

# What a character is to the pattern.
OTHER, LETTER, NUMBER, SPACE, LINE_END = range(5)  # LINE_END: \r and \n; SPACE: the rest of \s


class ClassTables(NamedTuple):
    """Character c has the class `classes[blocks[c >> 8] << 8 | c & 255]`; block 0 holds ASCII.

    `blocks`: uint8 [8192]. `classes`: uint8 [blocks x 256].
    """

    blocks: NDArray[np.uint8]
    classes: NDArray[np.uint8]


def build_tables() -> ClassTables:
    """The table as the installed tiktoken has it (2 s; needs tiktoken, which is no part of an install)."""
    import tiktoken

    ranks = {bytes([byte]): byte for byte in range(256)}
    characters = "".join(chr(code) for code in range(CODE_POINTS) if not 0xD800 <= code < 0xE000)
    classes = np.full(FOUR_BYTES, OTHER, np.uint8)
    for property_, class_ in ((r"\p{L}", LETTER), (r"\p{N}", NUMBER), (r"\s", SPACE)):
        # Text that no alternative matches is dropped: what comes back has the property.
        probe = tiktoken.Encoding("probe", pat_str=property_, mergeable_ranks=ranks, special_tokens={})
        found = probe.decode(probe.encode_ordinary(characters))
        classes[np.frombuffer(found.encode("utf-32-le"), np.uint32)] = class_
    classes[[0x0A, 0x0D]] = LINE_END
    distinct, first, numbers = np.unique(
        classes.reshape(-1, 1 << BLOCK_BITS), axis=0, return_index=True, return_inverse=True
    )
    order = np.argsort(first)  # blocks in the order of their first use: ASCII is block 0
    rank = np.empty(len(order), np.uint8)
    rank[order] = np.arange(len(order))
    return ClassTables(rank[numbers.reshape(-1)], np.ascontiguousarray(distinct[order]).reshape(-1))


@cache
def load_tables() -> ClassTables:
    """The committed table, read once per process."""
    with np.load(TABLE_FILE, allow_pickle=False) as arrays:
        return ClassTables(*(read_only(arrays[name]) for name in ClassTables._fields))


if __name__ == "__main__":
    np.savez_compressed(TABLE_FILE, **build_tables()._asdict())
