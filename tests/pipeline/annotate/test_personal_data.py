"""What personal data looks like, and what only looks like it; the numbers are made up."""

import random

import pyarrow as pa
import pytest

from pipeline.annotate.personal_data import PLACEHOLDERS, mask_personal_data
from pipeline.decide.edits import apply_edits

FOUND = {
    "email": [
        ("mail a.b+c@mail.example.org.", "a.b+c@mail.example.org"),
        ("<x_y-z@sub.co.uk>", "x_y-z@sub.co.uk"),
        ("邮箱：li.ming@qq.com，谢谢", "li.ming@qq.com"),
        ("13812345678@x.org", "13812345678@x.org"),  # one find, named as what starts first and is longer
        ("to a@b.cn+c@d.org now", "a@b.cn+c@d.org"),  # two that run into each other
    ],
    "phone": [
        ("call 13812345678 now", "13812345678"),
        ("call +86 138-1234-5678", "+86 138-1234-5678"),
        ("电话138 1234 5678，", "138 1234 5678"),
        ("Tel.13812345678.", "13812345678"),
        ("8613812345678", "8613812345678"),
        ("(+86)13812345678", "(+86)13812345678"),
        ("**13012345678**", "13012345678"),
        ("call 010-12345678", "010-12345678"),
        ("(0755) 1234567", "(0755) 1234567"),
        ("（０１０）12345678", "（０１０）12345678"),
        ("(415) 555-2671", "(415) 555-2671"),
        ("1-415-555-2671 or", "1-415-555-2671"),
        ("+1 415 555 2671", "+1 415 555 2671"),
        ("+44 20 7946 0958", "+44 20 7946 0958"),
        ("+4915112345678", "+4915112345678"),
    ],
    "ip": [
        ("at 8.8.4.4:8080", "8.8.4.4"),
        ("allow 9.9.9.0/24", "9.9.9.0"),
        ("http://1.1.1.1", "1.1.1.1"),
        ("http://93.184.216.34/x", "93.184.216.34"),
        ("2001:4860:4860::8888 is", "2001:4860:4860::8888"),
        ("2a00:1450:4001:082a:0:0:0:200e", "2a00:1450:4001:082a:0:0:0:200e"),
    ],
    "id": [
        ("身份证11010519491231002X。", "11010519491231002X"),  # the example of GB 11643
        ("440524188001010014", "440524188001010014"),  # and its other one
        ("id 110105 19491231 002x", "110105 19491231 002x"),
        ("11010519491231002Ｘ", "11010519491231002Ｘ"),
    ],
    "card": [
        ("Visa 4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("4111111111111111.", "4111111111111111"),
        ("5555-5555-5555-4444", "5555-5555-5555-4444"),
        ("amex 3782 822463 10005", "3782 822463 10005"),
        ("卡号6222020000000000000", "6222020000000000000"),  # UnionPay, 19 digits
    ],
}
NOT_FOUND = [
    "order 913812345678",  # 12 digits
    "138-1234 5678",  # two kinds of separators
    "12345678901",
    "15000000000",  # an amount
    "https://x.cn/p/13812345678",
    "a/13812345678",
    "x13812345678",
    "384*p + 13997500000*q",
    "b = (17643225600., 1)",
    "0.13812345678",
    "section 1.2.3.4.5",
    "version v1.2.3.4",
    "Version 1.2.3.4",
    "3.1.2.4 Method",
    "see 13.4.5.2, and openresty-1.13.6.2",  # a section, a version
    "+281474976710656 and +10011010010",  # no country, no area
    "getty@tty1.service and dbus-1.10-org.x@0.service",
    "256.1.1.1",
    "192.168.0.1 10.0.0.255 127.0.0.1 169.254.1.1 100.64.0.1 172.16.0.1",  # private and reserved
    "192.0.2.1 198.51.100.7 203.0.113.9 2001:db8::1 2001:0db8:0:0:0:0:0:1",  # for documentation
    "fe80::1 fd00::1 dead::beef 12:30:45",
    "user@localhost",
    "logo@2x.png",
    "git@github.com:a/b",
    "q@k.transpose(1)",
    "@name and name@",
    "110105194912310021",  # wrong check digit
    "11010519491231002XY",
    "110105194913310025",  # month 13
    "990105194912310022",  # no province
    "4111111111111112",  # wrong check digit
    "0000000000000000",
    "1234567812345670",  # right check digit, no issuer
    "2500 4574 7458 6164  6574",  # a memory dump
    "+1980-02-29 01:02:03",
    "+1234567",
    "2020-01-02 12:00, 3.14159, 1,234,567.89",
    "911-555-2671 and 415-911-2671",  # no area, no exchange
    "",
]


def finds(text: str) -> list[tuple[str, str]]:
    content = text.encode()
    [edits] = mask_personal_data(pa.array([text])).to_pylist()
    assert all(edit["replacement"] == PLACEHOLDERS[edit["reason"]] for edit in edits)
    return [(edit["reason"], content[edit["start"] : edit["end"]].decode()) for edit in edits]


@pytest.mark.parametrize(
    ("kind", "text", "found"), [(k, t, f) for k, pairs in FOUND.items() for t, f in pairs]
)
def test_what_is_personal(kind: str, text: str, found: str) -> None:
    assert finds(text) == [(kind, found)]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_what_only_looks_like_it(text: str) -> None:
    assert finds(text) == []


@pytest.mark.parametrize(
    ("text", "caught"),
    [
        ("１３８１２３４５６７８", True),  # full-width digits
        ("138\u200d1234\u200d5678", True),  # joiners between them (zero-width spaces go in normalisation)
        ("4111－1111－1111－1111", True),  # full-width hyphens
        ("l3812345678", False),  # a letter for a digit
        ("一三八一二三四五六七八", False),
        ("138_1234_5678", False),
        ("name at host dot org", False),
        ("li\u043ey@qq.com", True),  # a Cyrillic o: what is left of it
        ("name＠host.org", False),  # a full-width @
    ],
)
def test_disguises(text: str, caught: bool) -> None:
    assert bool(finds(text)) == caught


def check_digit(digits: str) -> str:
    """GB 11643, 5: weights 2^(i - 1) mod 11 from the right."""
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(digits))
    return "10X98765432"[total % 11]


def luhn_digit(digits: str) -> str:
    doubled = [int(d) * (2 - place % 2) for place, d in enumerate(reversed(digits))]
    return str(-sum(number // 10 + number % 10 for number in doubled) % 10)


def test_one_check_digit_of_eleven_is_right() -> None:
    draw = random.Random(4)
    for _ in range(200):
        body = f"{draw.choice((11, 31, 44, 65))}0{draw.randint(100, 999)}{draw.randint(1920, 2020)}"
        body += f"{draw.randint(1, 12):02}{draw.randint(1, 28):02}{draw.randint(0, 999):03}"
        for last in "0123456789X":
            expected = [("id", body + last)] if last == check_digit(body) else []
            assert [find for find in finds(f"号码{body}{last}。") if find[0] == "id"] == expected


def test_one_luhn_digit_of_ten_is_right() -> None:
    draw = random.Random(5)
    for prefix, size in (("4", 16), ("51", 16), ("2720", 16), ("62", 16), ("62", 19), ("34", 15), ("36", 14)):
        body = prefix + "".join(draw.choices("0123456789", k=size - 1 - len(prefix)))
        for last in "0123456789":
            found = [find for find in finds(f"card: {body}{last}") if find[0] == "card"]
            assert found == ([("card", body + last)] if last == luhn_digit(body) else [])


def test_several_finds_in_one_text_and_several_texts() -> None:
    texts = ["中 93.184.216.34 or 13812345678/13987654321", None, "x@y.com,z@w.cn；q@r.org", "none"]
    whole = mask_personal_data(pa.array(["9.8.7.60", *texts], pa.large_string())[1:])
    reasons = [[edit["reason"] for edit in edits] for edits in whole.to_pylist()]
    assert reasons == [["ip", "phone", "phone"], [], ["email"] * 3, []]
    masked = apply_edits(pa.array(texts), whole).to_pylist()
    assert masked == ["中 <ip> or <phone>/<phone>", None, "<email>,<email>；<email>", "none"]


def test_edits_are_whole_characters_within_the_text() -> None:
    pieces = [
        "1",
        "138",
        "1234",
        "13812345678",
        "8.8.8.8",
        "4111111111111111",
        ".",
        "-",
        " ",
        "+",
        "a",
        "@",
        "x.org",
    ]
    pieces += [
        "(",
        ")",
        "中",
        "８",
        "\u200d",
        "X",
        "110105",
        "19491231",
        "002X",
        ":",
        "2001",
        "::",
        "\n",
        "（",
        "）",
    ]
    draw = random.Random(6)
    texts = ["".join(draw.choices(pieces, k=draw.randint(1, 12))) for _ in range(20_000)]
    apply_edits(pa.array(texts), mask_personal_data(pa.array(texts)))  # raises for what no edit may be
