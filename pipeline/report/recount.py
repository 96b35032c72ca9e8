"""What the files of a run hold, counted again without trust in any commit row: the other side of the ledger.

Footers tell rows and how many values a column has; only a few small, dictionary-encoded columns are read.
Cost: one open per file and about a byte per document.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.pack.shards import BATCH_ROWS
from pipeline.parts import PartFile
from pipeline.storage import Storage

_READERS = 16

# Leaf columns whose values (those that are not null) are counted, by the folder of the file.
_VALUES = {
    "documents": ("url_digest",),
    "work/signatures": ("signature.list.element",),
    "work/encoded": ("tokens.list.element",),
}
Group = tuple[bool | str, str]
# Two small columns by whose values rows are counted.
_GROUPS = {"quarantine": ("stage", "reason"), "decisions": ("kept", "reason")}


@dataclass(frozen=True, slots=True)
class Held:
    """What one file holds; rows = -1 if it is not there, not of the size in its row, or is damaged."""

    rows: int = -1
    values: Mapping[str, int] = field(default_factory=dict)  # not null, by leaf column
    groups: Mapping[Group, int] = field(default_factory=dict)  # rows by two small columns


def recount(storage: Storage, files: Iterable[PartFile]) -> Iterator[tuple[PartFile, Held]]:
    """Every file and what it holds, in the order given."""
    files = list(files)
    with ThreadPoolExecutor(_READERS) as pool:
        yield from zip(files, pool.map(lambda file: look_into(storage, file), files), strict=True)


def look_into(storage: Storage, file: PartFile) -> Held:
    """What a Parquet part or a token shard holds."""
    folder = file.name.rpartition("/")[0]
    if storage.size(file.name) != file.bytes:
        return Held()
    try:
        with storage.open_input(file.name) as source:
            if not file.name.endswith(".parquet"):
                return Held(_rows_of_shard(pa.ipc.open_file(source)))
            opened = pq.ParquetFile(source)
            values = {name: _values(opened.metadata, name) for name in _VALUES.get(folder, ())}
            groups = _groups(opened, _GROUPS[folder]) if folder in _GROUPS else {}
            return Held(opened.metadata.num_rows, values, groups)
    except (OSError, pa.ArrowException):
        return Held()


def _rows_of_shard(batches: pa.RecordBatchFileReader) -> int:
    """All batches of a shard but the last have BATCH_ROWS rows: the others need not be read."""
    last = batches.num_record_batches - 1
    return last * BATCH_ROWS + batches.get_batch(last).num_rows if last >= 0 else 0


def _values(footer: pq.FileMetaData, name: str) -> int:
    """Values of a leaf column that are not null, by the statistics of its row groups."""
    total = 0
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        columns = [group.column(at) for at in range(group.num_columns)]
        total += sum(c.statistics.num_values for c in columns if c.path_in_schema == name and c.statistics)
    return total


def _groups(opened: pq.ParquetFile, names: tuple[str, str]) -> Counter[Group]:
    counted: Counter[Group] = Counter()
    for number in range(opened.num_row_groups):
        table = opened.read_row_group(number, columns=list(names), use_threads=False)
        groups = table.group_by(list(names), use_threads=False).aggregate([([], "count_all")])
        for row in groups.to_pylist():
            counted[row[names[0]], row[names[1]]] += row["count_all"]
    return counted
