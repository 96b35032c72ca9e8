from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.annotate.read.records import REASONS, Outcome, Record, Skipped, SpanAccount
from pipeline.annotate.read.split import read_split
from pipeline.annotate.splits import list_input_files, plan_splits


@dataclass
class Reading:
    """A file read whole or by its splits, with the account of all of them together."""

    outcomes: list[Outcome]
    account: SpanAccount
    file_bytes: int

    @property
    def records(self) -> list[Record]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Record)]

    @property
    def skips(self) -> list[Skipped]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, Skipped)]

    @property
    def reasons(self) -> list[str]:
        return [skip.reason for skip in self.skips]


@pytest.fixture
def read_file(tmp_path: Path) -> Callable[..., Reading]:
    """Reads bytes (or a file) as one input file, and checks what holds for every file on the way."""

    def read(
        content: bytes | Path,
        name: str = "file",
        *,
        format: str = "warc",
        split_bytes: int = 1 << 40,
        max_record_bytes: int = 10 << 20,
        max_ratio: int = 200,
        fields: dict[str, str] | None = None,
    ) -> Reading:
        path = content if isinstance(content, Path) else tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        total = Reading([], SpanAccount(), path.stat().st_size)
        for split in plan_splits(list_input_files([str(path)]), format=format, split_bytes=split_bytes):
            account = SpanAccount()
            for outcome in read_split(
                split,
                format=format,
                fields=fields or {},
                max_record_bytes=max_record_bytes,
                max_ratio=max_ratio,
                account=account,
            ):
                total.outcomes.append(replace(outcome, span=0))
            assert account.spanned == account.covered
            total.account.spanned += account.spanned
            total.account.covered += account.covered
            total.account.records += account.records
            for reason, count in account.skipped.items():
                total.account.skipped[reason] = total.account.skipped.get(reason, 0) + count
        assert total.account.covered == total.file_bytes
        assert total.account.records == len(total.records)
        assert sum(total.account.skipped.values()) == len(total.skips)
        assert set(total.reasons) <= set(REASONS)
        assert all(len(skip.raw) <= 1 << 20 for skip in total.skips)
        assert not any(skip.raw for skip in total.skips if not skip.quarantine)
        if format != "parquet" and split_bytes >= total.file_bytes:
            assert sum(outcome.length for outcome in total.outcomes) == total.file_bytes
        return total

    return read
