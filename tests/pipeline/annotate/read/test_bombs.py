"""Files that would inflate to 128 MiB: read at the cost of a few, and counted."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from pipeline.annotate.read.records import Skipped, SpanAccount
from pipeline.annotate.read.split import read_split
from pipeline.annotate.splits import list_input_files, plan_splits

MIB = 1 << 20
FULL = 128 * MIB
FIELDS = {"text": "text", "id": "id", "url": "url", "date": "date"}


def beginning(format: str) -> bytes:
    """What makes the bomb look like a record of its format."""
    if format == "jsonl":
        return b'{"text": "'
    return f"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: {FULL}\r\n\r\n".encode()


@pytest.mark.parametrize("max_ratio", [200, 1_000_000], ids=["ratio", "size"])
@pytest.mark.parametrize(("name", "pack"), [("gz", gzip.compress), ("zst", zstandard.compress)])
@pytest.mark.parametrize("format", ["warc", "jsonl"])
def test_what_a_file_would_inflate_to_is_never_held(
    format: str, name: str, pack: Callable[[bytes], bytes], max_ratio: int, tmp_path: Path
) -> None:
    """Refused by its ratio, or read past piece by piece where that may be large: 32 times below its size."""
    file = tmp_path / f"bomb.{format}.{name}"
    file.write_bytes(pack(beginning(format) + b"x" * FULL))
    [spans] = plan_splits(list_input_files([str(file)]), format=format, split_bytes=1 << 40)
    limits = {"max_record_bytes": 4 * MIB, "max_ratio": max_ratio}
    account = SpanAccount()
    tracemalloc.start()
    outcomes = list(read_split(spans, format=format, fields=FIELDS, account=account, **limits))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    reason = "ratio_cap" if max_ratio == 200 else "record_too_large"
    assert [(type(outcome), outcome.reason) for outcome in outcomes if isinstance(outcome, Skipped)] == [
        (Skipped, reason)
    ]
    assert account.records == 0 and account.spanned == account.covered == file.stat().st_size
    assert peak < 24 * MIB
