"""The ledger finds every kind of loss."""

import pytest

from pipeline.ledger import IN, OUT, Count, Entry, Totals, find_imbalances

SOUND = (
    Entry("read", IN, 10, bytes=100),
    Entry("read", OUT, 7, bytes=80),
    Entry("read", "bad_gzip", 3, bytes=20),
    Entry("text", IN, 7),
    Entry("text", OUT, 7),
)
EQUATION = ("records out of read and into text", 7, 7)


def test_a_sound_ledger_balances() -> None:
    assert find_imbalances(Totals(SOUND), [EQUATION]) == []


@pytest.mark.parametrize("missing", range(len(SOUND)))
def test_a_missing_entry_is_found(missing: int) -> None:
    entries = [entry for number, entry in enumerate(SOUND) if number != missing]
    totals = Totals(entries)
    equation = (
        "records out of read and into text",
        totals.side("read", OUT).records,
        totals.side("text", IN).records,
    )
    assert find_imbalances(totals, [equation])


def test_lost_bytes_are_found_where_records_agree() -> None:
    entries = [*SOUND[:1], Entry("read", OUT, 7, bytes=79), *SOUND[2:]]
    assert find_imbalances(Totals(entries), [EQUATION]) == ["read: 100 bytes in, but 99 out or dropped (-1)"]


def test_an_equation_that_does_not_hold_is_named() -> None:
    assert find_imbalances(Totals(SOUND), [("rows here and there", 1, 2)]) == [
        "rows here and there: 1 and 2 differ"
    ]


def test_counts_do_not_depend_on_order() -> None:
    one, other = Count(), Count()
    for count, reasons in ((one, "abcab"), (other, "bbaca")):
        for reason in reasons:
            count.add("read", reason, bytes=2)
    assert (
        one.entries()
        == other.entries()
        == (Entry("read", "a", 2, 4), Entry("read", "b", 2, 4), Entry("read", "c", 1, 2))
    )
