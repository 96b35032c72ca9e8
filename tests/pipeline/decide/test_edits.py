import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.edits import apply_edits, merge_edits
from pipeline.schema import EDITS


def edit(start: int, end: int, replacement: str = "", reason: str = "email") -> dict:
    return {"start": start, "end": end, "replacement": replacement, "reason": reason}


def column(*rows: list[dict] | None) -> pa.ListArray:
    return pa.array(rows, EDITS)


def slow_merge(edits: list[dict]) -> list[dict]:
    """The definition: sorted, then each edit joins the one before it if they overlap or start together."""
    merged: list[dict] = []
    for one in sorted(edits, key=lambda e: (e["start"], -e["end"], e["replacement"], e["reason"])):
        if merged and (one["start"] < merged[-1]["end"] or one["start"] == merged[-1]["first"]):
            merged[-1]["end"] = max(merged[-1]["end"], one["end"])
            merged[-1]["first"] = one["start"]
        else:
            merged.append({**one, "first": one["start"]})
    return [{name: one[name] for name in ("start", "end", "replacement", "reason")} for one in merged]


def slow_apply(text: str, edits: list[dict]) -> str:
    raw = text.encode()
    for one in reversed(edits):
        raw = raw[: one["start"]] + one["replacement"].encode() + raw[one["end"] :]
    return raw.decode()


@st.composite
def documents(draw) -> tuple[str | None, list[dict] | None]:
    text = draw(st.none() | st.text(st.sampled_from("aé中😀\n"), max_size=12))
    if text is None:
        return None, draw(st.sampled_from([None, []]))
    places = [len(text[:i].encode()) for i in range(len(text) + 1)]
    spans = st.tuples(st.sampled_from(places), st.sampled_from(places)).map(sorted)
    replacements, reasons = st.sampled_from(["", "x", "邮"]), st.sampled_from("pq")
    edits = st.builds(lambda span, new, why: edit(span[0], span[1], new, why), spans, replacements, reasons)
    return text, draw(st.none() | st.lists(edits, max_size=5))


@given(st.lists(documents(), max_size=6), st.booleans(), st.integers(0, 2), st.randoms(use_true_random=False))
def test_merge_and_apply_agree_with_the_definition(rows, large, cut, rng):
    kind = pa.large_string() if large else pa.string()
    text = pa.array([text for text, _ in rows], kind)[cut:]
    edits = column(*[edits for _, edits in rows])[cut:]
    merged = merge_edits(edits)
    merged.validate(full=True)
    expected = [None if found is None else slow_merge(found) for _, found in rows[cut:]]
    assert merged.to_pylist() == expected
    shuffled = column(*[found and rng.sample(found, len(found)) for found in edits.to_pylist()])
    assert merge_edits(shuffled).equals(merged)
    assert merge_edits(merged).equals(merged)

    edited = apply_edits(text, merged)
    edited.validate(full=True)
    assert edited.type == kind
    assert edited.to_pylist() == [
        before if before is None else slow_apply(before, found or [])
        for (before, _), found in zip(rows[cut:], expected, strict=True)
    ]


def test_a_batch_without_edits_is_returned_as_it_came():
    text = pa.array(["one", None, "three"])
    assert apply_edits(text, column([], None, [])) is text


def test_touching_edits_stay_apart_and_overlapping_ones_become_one():
    merged = merge_edits(column([edit(3, 5, "B", "late"), edit(0, 3, "A"), edit(4, 9, "C"), edit(9, 9, "+")]))
    assert merged.to_pylist() == [[edit(0, 3, "A"), edit(3, 9, "B", "late"), edit(9, 9, "+")]]
    assert apply_edits(pa.array(["012345678"]), merged).to_pylist() == ["AB+"]


@pytest.mark.parametrize(
    ("edits", "why"),
    [
        ([edit(0, 5)], r"row 1: edit \[0, 5\) of a text of 4 bytes lies outside"),
        ([edit(3, 2)], "lies outside"),
        ([edit(5, 5)], "lies outside"),
        ([edit(0, 2)], "cuts a UTF-8 sequence"),
        ([edit(2, 4)], "cuts a UTF-8 sequence"),
        ([edit(0, 3), edit(1, 4)], "overlaps the one before"),
        ([edit(3, 4), edit(0, 1)], "overlaps the one before"),
        ([{**edit(0, 1), "replacement": None}], "has no replacement"),
    ],
)
def test_impossible_edits_name_their_row(edits, why):
    text = pa.array(["first", "a中", "last"])
    with pytest.raises(ValueError, match=why):
        apply_edits(text, column([edit(0, 1)], edits, None))


def test_a_null_text_cannot_be_edited():
    with pytest.raises(ValueError, match=r"row 0: .* has no text"):
        apply_edits(pa.array([None], pa.string()), column([edit(0, 0, "x")]))


def test_columns_must_fit():
    with pytest.raises(ValueError, match="1 texts but 2"):
        apply_edits(pa.array(["x"]), column([], []))
    with pytest.raises(ValueError, match="edits must be"):
        merge_edits(pa.array([[1]]))


def test_many_edits_over_many_documents():
    rng = random.Random(7)
    texts = ["".join(rng.choice("ab中") for _ in range(rng.randrange(200))) for _ in range(300)]
    edits = []
    for text in texts:
        places = sorted(rng.sample(range(len(text) + 1), k=min(len(text), 6) // 2 * 2))
        offsets = [len(text[:place].encode()) for place in places]
        edits.append(
            [edit(a, b, rng.choice(["", "XYZ"])) for a, b in zip(offsets[::2], offsets[1::2], strict=True)]
        )
    expected = [slow_apply(text, found) for text, found in zip(texts, edits, strict=True)]
    assert apply_edits(pa.array(texts), merge_edits(column(*edits))).to_pylist() == expected
