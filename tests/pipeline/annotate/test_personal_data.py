import random
import re

import pyarrow as pa
import pytest

from pipeline.annotate.personal_data import find_personal_data, mask_personal_data

OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
# What is meant, each kind as one pattern from left to right: too slow to run, easy to read.
MEANT = {
    "phone": rb"(?<![0-9A-Za-z.+-])(?:\+?86[ -]?)?"
    rb"1[3-9][0-9](?:[0-9]{8}|([ -])[0-9]{4}\1[0-9]{4})(?![0-9A-Za-z.-])",
    "ip": rb"(?<![0-9A-Za-z.])" + OCTET + rb"(?:\." + OCTET + rb"){3}(?![0-9A-Za-z]|\.[0-9])",
}
PIECES = [b"1", b"3", b"25", b"86", b"+86", b"138", b"1234", b"13812345678", b"192.168.1.1", b"1.2", b"255"]
PIECES += [b".", b"-", b" ", b"+", b"a", b"x.org", b"@", b"a@b.cn", "\u4e2d".encode()]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mail a.b+c@mail.example.org.", "a.b+c@mail.example.org"),
        ("call 13812345678 now", "13812345678"),
        ("call +86 138-1234-5678", "+86 138-1234-5678"),
        ("电话138 1234 5678，", "138 1234 5678"),
        ("at 10.0.0.255:8080", "10.0.0.255"),
        ("order 913812345678", ""),  # 12 digits
        ("138-1234 5678", ""),  # two kinds of separators
        ("section 1.2.3.4.5", ""),
        ("version v1.2.3.4", ""),
        ("256.1.1.1", ""),
        ("user@localhost", ""),
    ],
)
def test_what_is_personal(text: str, found: str) -> None:
    content = text.encode()
    assert [content[start:end].decode() for start, end, _ in find_personal_data(content)] == [found] * bool(
        found
    )


@pytest.mark.parametrize("kind", MEANT)
def test_searching_from_the_rare_byte_finds_what_is_meant(kind: str) -> None:
    draw, meant, seen = random.Random(kind), re.compile(MEANT[kind]), 0
    for _ in range(20_000):
        text = b"".join(draw.choices(PIECES, k=draw.randint(1, 8)))
        finds = find_personal_data(text)
        if len({other for *_, other in finds} | {kind}) > 1:
            continue  # another kind may have taken the place
        expected = [match.span() for match in meant.finditer(text)]
        spans = [(start, end) for start, end, _ in finds]
        assert {start for start, _ in spans} <= {start for start, _ in expected}, text
        assert all(any(a <= start and end <= b for a, b in spans) for start, end in expected), text
        seen += bool(expected)
    assert seen > 100


def test_finds_do_not_overlap() -> None:
    assert find_personal_data(b"13812345678@x.org") == [(0, 17, "email")]


def test_two_addresses_that_run_into_each_other_are_masked_whole() -> None:
    assert find_personal_data(b"to a@b.cn+c@d.org now") == [(3, 17, "email")]


def test_edits_are_offsets_in_bytes() -> None:
    edits = mask_personal_data(pa.array(["中 1.2.3.4", "", "none"])).to_pylist()
    assert edits == [[{"start": 4, "end": 11, "replacement": "<ip>", "reason": "ip"}], [], []]
