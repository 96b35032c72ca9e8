"""The ledger: at every stage, records in = records out + records dropped by reason, counted on both sides.

Entries come from commit rows only (a runner's metrics count retries twice). `find_imbalances` holds two kinds
of equation: within a stage, and between numbers that were counted independently (the next stage's in, rows in
files).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

IN, OUT = "in", "out"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """What one stage of one part counted under one reason; "in" and "out" are the two sides, all else is a
    drop.
    """

    stage: str
    reason: str
    records: int
    bytes: int = 0
    tokens: int = 0


class Count:
    """Adds up entries while a part is made."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, stage: str, reason: str, records: int = 1, *, bytes: int = 0, tokens: int = 0) -> None:
        """Counts records (and their bytes and tokens) under a stage and reason."""
        sums = self._sums[stage, reason]
        sums[0] += records
        sums[1] += bytes
        sums[2] += tokens

    def entries(self) -> tuple[Entry, ...]:
        """All counts, sorted, so that a commit row does not depend on the order in which reasons were met."""
        return tuple(Entry(stage, reason, *sums) for (stage, reason), sums in sorted(self._sums.items()))


def total(entries: Iterable[Entry]) -> list[Entry]:
    """Sums of entries by stage and reason, sorted."""
    count = Count()
    for entry in entries:
        count.add(entry.stage, entry.reason, entry.records, bytes=entry.bytes, tokens=entry.tokens)
    return list(count.entries())


class Totals:
    """Entries of all parts by stage: sides and reasons."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = total(entries)
        self._by_key = {(entry.stage, entry.reason): entry for entry in self.entries}

    def side(self, stage: str, side: str) -> Entry:
        """The in or out side of a stage, zero if the stage left no entry."""
        return self._by_key.get((stage, side), Entry(stage, side, 0))

    def dropped(self, stage: str) -> list[Entry]:
        """What a stage dropped, by reason."""
        return [entry for entry in self.entries if entry.stage == stage and entry.reason not in (IN, OUT)]


def find_imbalances(totals: Totals, equations: Sequence[tuple[str, int, int]]) -> list[str]:
    """Sentences that name each equation that does not hold; an empty list = the ledger balances.

    Every stage must have in = out + dropped, in records and, where it counts them, in bytes; each equation is
    (what is compared, left, right).
    """
    problems = []
    for stage in sorted({entry.stage for entry in totals.entries}):
        dropped = totals.dropped(stage)
        came, left = totals.side(stage, IN), totals.side(stage, OUT)
        for unit in ("records", "bytes"):
            before, after = (
                getattr(came, unit),
                getattr(left, unit) + sum(getattr(entry, unit) for entry in dropped),
            )
            if before != after and (unit == "records" or getattr(came, unit) or getattr(left, unit)):
                problems.append(
                    f"{stage}: {before:,} {unit} in, but {after:,} out or dropped ({after - before:+,})"
                )
    problems += [f"{what}: {left:,} and {right:,} differ" for what, left, right in equations if left != right]
    return problems
