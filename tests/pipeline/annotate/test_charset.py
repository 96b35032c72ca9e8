import random
from pathlib import Path

import pytest

from pipeline.annotate import charset_model
from pipeline.annotate.charset import decode_page, find_declared_charset
from pipeline.annotate.charset_labels import decode_as, get_codec, resolve_charset
from pipeline.annotate.charset_model import weigh_charsets
from pipeline.annotate.mojibake import repair_mojibake

CHINESE = "数据管道把网页变成语料，每一个词元都有出处。" * 8
JAPANESE = "これは日本語の文章です。文字化けを防ぐための試験です。" * 8
KOREAN = "이것은 한국어 문장입니다. 글자가 깨지지 않아야 합니다. " * 8
RUSSIAN = "Это русский текст, который должен читаться без искажений. " * 8
GERMAN = "Über die Straße läuft ein größerer Bär, und die Möwe hört zu. " * 8


def page(text: str, head: str = "") -> str:
    return f"<html><head>{head}<title>t</title></head><body><p>{text}</p></body></html>"


@pytest.mark.parametrize(
    ("label", "encoding"),
    [
        ("GB2312", "gb18030"),
        (" gbk ", "gb18030"),
        ("ISO-8859-1", "windows-1252"),
        ("us-ascii", "windows-1252"),
        ("ks_c_5601-1987", "euc-kr"),
        ("x-sjis", "shift_jis"),
        ("Big5-HKSCS", "big5"),
        ("utf8", "utf-8"),
        ("iso-8859-9", "windows-1254"),
        ("klingon", ""),
        ("", ""),
    ],
)
def test_labels(label: str, encoding: str) -> None:
    assert resolve_charset(label) == encoding
    if encoding:
        "x".encode(get_codec(encoding))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CHINESE, "gb18030"),
        (CHINESE.replace("数据", "數據"), "utf-8"),
        ("資料管線把網頁變成語料，每一個詞都有出處。" * 8, "big5"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"),
        (JAPANESE, "iso-2022-jp"),
        (KOREAN, "euc-kr"),
        (RUSSIAN, "windows-1251"),
        (RUSSIAN, "koi8-r"),
        (GERMAN, "windows-1252"),
    ],
)
def test_each_way_of_declaring_and_none(text: str, encoding: str) -> None:
    codec = get_codec(encoding)
    meta = page(text, f'<meta http-equiv="Content-Type" content="text/html; charset={encoding}">')
    short_meta = page(text, f"<META charset='{encoding.upper()}' />")
    xml = f"<?xml version='1.0' encoding='{encoding}'?>" + page(text)
    assert decode_page(page(text).encode(codec), header_charset=encoding) == (page(text), encoding)
    for declared in (meta, short_meta, xml):
        assert decode_page(declared.encode(codec), header_charset="") == (declared, encoding)
        assert decode_page(declared.encode(codec), header_charset="iso-8859-1") == (declared, encoding)
    for wrong in ("", "utf-8", "iso-8859-1", "klingon", "utf-16"):
        assert decode_page(page(text).encode(codec), header_charset=wrong) == (page(text), encoding), wrong


@pytest.mark.parametrize("wrong", ["gb2312", "iso-8859-1", "windows-1251", "shift_jis", "utf-16"])
@pytest.mark.parametrize("text", [CHINESE, RUSSIAN, GERMAN])
def test_bytes_that_prove_themselves_utf8_overrule_any_label(text: str, wrong: str) -> None:
    assert decode_page(page(text).encode(), header_charset=wrong) == (page(text), "utf-8")


def test_one_short_word_in_gbk_that_is_valid_utf8_too_keeps_its_label() -> None:
    body = page("脕").encode("gb18030")  # bytes C3 81: "Á" in UTF-8
    assert body.decode("utf-8")
    assert decode_page(body, header_charset="gbk") == (page("脕"), "gb18030")


def test_damaged_utf8_stays_utf8() -> None:
    body = page(CHINESE).encode()
    cut = body[: body.index(b"</p>") - 1]
    found = decode_page(cut, header_charset="")
    assert found and found[1] == "utf-8" and found[0].endswith("\ufffd")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16le", "utf-16be"])
def test_byte_order_mark_wins(encoding: str) -> None:
    body = ("\ufeff" + page(CHINESE)).encode(get_codec(encoding))
    assert decode_page(body, header_charset="gbk") == (page(CHINESE), encoding)


@pytest.mark.parametrize("encoding", ["utf-16le", "utf-16be"])
def test_utf16_without_a_mark(encoding: str) -> None:
    assert decode_page(page(GERMAN).encode(get_codec(encoding)), header_charset="") == (
        page(GERMAN),
        encoding,
    )


def test_binary_is_no_text() -> None:
    noise = random.Random(7).randbytes(20_000)
    assert decode_page(noise, header_charset="") is None
    assert decode_page(noise, header_charset="iso-8859-1") is None
    assert decode_page(noise, header_charset="gbk") is None
    assert decode_page(b"%PDF-1.7\nreadable words", header_charset="utf-8") is None
    assert decode_page(bytes(5000), header_charset="") is None


def test_padding_with_nul_is_still_a_page() -> None:
    body = page(GERMAN).encode() + bytes(100)
    assert decode_page(body, header_charset="") == (body.decode(), "utf-8")


def test_nothing_and_plain_ascii() -> None:
    assert decode_page(b"", header_charset="") == ("", "utf-8")
    assert decode_page(b"<p>plain", header_charset="gbk") == ("<p>plain", "utf-8")


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b"<!-- <meta charset=gbk> --><meta charset=utf-8>", "utf-8"),
        (b"<meta name=description content='how to set charset=gbk'><meta charset=big5>", "big5"),
        (b"<meta content='text/html; CHARSET = \"gb2312\"' http-equiv=content-type>", "gb18030"),
        (b"<meta charset=klingon><meta charset=euc-kr>", "euc-kr"),
        (b"<meta data-charset=gbk>", ""),
        (b" " * 5000 + b"<meta charset=gbk>", ""),
        (b"<meta charset=", ""),
        (b"<!-- <meta charset=gbk>", ""),
    ],
)
def test_find_declared_charset(head: bytes, encoding: str) -> None:
    assert find_declared_charset(head) == encoding


def test_random_bytes_never_raise() -> None:
    draw = random.Random(3)
    pieces = [
        b"<p>",
        b"\x1b$B",
        b"\x00",
        "中文".encode("gb18030"),
        "é".encode(),
        b"\xff\xfe",
        b"\x81",
        b"charset=gbk",
    ]
    for _ in range(2000):
        body = b"".join(draw.choices(pieces, k=draw.randrange(12)))
        label = draw.choice(["", "gbk", "utf-16", "iso-2022-jp", "hz", "euc-jp", "x"])
        found = decode_page(body, header_charset=label)
        if found:
            assert found[0].encode().decode() == found[0]
            assert resolve_charset(found[1].partition(" as ")[0]) == found[1].partition(" as ")[0]


def test_manual_in_many_languages() -> None:
    archive = Path(__file__).resolve().parents[3] / "../shared/data/encodings.tar.gz"
    if not archive.exists():
        pytest.skip("encodings.tar.gz is not beside this checkout")
    import tarfile

    expected = {"utf8": "utf-8", "euc-kr": "euc-kr", "de": "windows-1252"}
    seen = set()
    with tarfile.open(archive) as files:
        for member in files:
            kind = member.name.rpartition(".")[2]
            content = files.extractfile(member)
            if kind in expected and content:
                body = content.read()
                found = decode_page(body, header_charset="")
                assert found and "\ufffd" not in found[0], member.name
                assert found[1] == expected[kind] or body.isascii(), member.name
                seen.add(kind)
    assert seen == set(expected)


def test_declarations_that_the_text_contradicts() -> None:
    polish = "Zażółć gęślą jaźń, a potem idź do domu i śpij spokojnie aż do świtu. " * 8
    traditional = "資料管線把網頁變成語料，每一個詞都有出處。" * 8
    for text, encoding, wrong in (
        (polish, "windows-1250", "iso-8859-1"),
        (polish, "iso-8859-2", "windows-1250"),
        (traditional, "big5", "gbk"),
        (CHINESE, "gb18030", "big5"),
        (RUSSIAN, "koi8-r", "windows-1251"),
        (GERMAN, "macintosh", "utf-8"),
    ):
        body = page(text).encode(get_codec(encoding))
        assert decode_page(body, header_charset=wrong) == (page(text), encoding)


def test_declarations_stand_where_the_text_says_little() -> None:
    body = page("© 2009 Müller").encode("iso8859_15")
    for label in ("iso-8859-15", "iso-8859-1", "windows-1257"):
        found = decode_page(body, header_charset=label)
        assert found and found[1] == resolve_charset(label)
    assert decode_page(body, header_charset="") == (page("© 2009 Müller"), "windows-1252")


def test_chinese_in_ascii_bytes() -> None:
    body = page(CHINESE).encode("hz")
    assert decode_page(body, header_charset="") == (page(CHINESE), "hz-gb-2312")
    shell = page("echo ~{a,b} ~} ~/x")
    assert decode_page(shell.encode(), header_charset="") == (shell, "utf-8")


def test_bytes_that_only_browsers_read() -> None:
    assert decode_as("windows-1252", b"a\x81\x8d\x80") == "a\x81\x8d€"
    assert decode_as("gb18030", b"\x80 \xd6\xd0\xff") == "€ 中\ufffd"
    assert decode_as("windows-1253", b"\xaa\xd2") == "\ufffd\ufffd"


@pytest.mark.parametrize(("text", "charset"), [(GERMAN, "windows-1252"), (RUSSIAN, "windows-1251")])
def test_utf8_taken_for_something_else_is_repaired_only_as_a_whole(text: str, charset: str) -> None:
    wrong = page(text).encode().decode(get_codec(charset)).encode()
    assert decode_page(wrong, header_charset="utf-8") == (page(text), f"utf-8 as {charset}")
    with_more = wrong + "<p>中".encode()
    assert decode_page(with_more, header_charset="") == (with_more.decode(), "utf-8")
    few = "<p>&Atilde; is Ã, and Ã© is not é".encode()
    assert decode_page(few, header_charset="") == (few.decode(), "utf-8")
    assert repair_mojibake(page(text)) == (page(text), "")


def test_evidence_counts_what_is_judged() -> None:
    assert weigh_charsets(b"plain").best == "" and weigh_charsets(b"plain").high_bytes == 0
    evidence = weigh_charsets(RUSSIAN.encode("koi8-r"))
    assert evidence.best == "koi8-r" and evidence.high_bytes == sum(c > "\x7f" for c in RUSSIAN)
    assert evidence.costs["windows-1251"] > evidence.costs["koi8-r"]


def test_the_model_is_the_one_of_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "charset_model.npz"
    other.write_bytes(charset_model.CHARSET_MODEL.read_bytes() + b"\0")
    monkeypatch.setattr(charset_model, "CHARSET_MODEL", other)
    charset_model.load_charset_model.cache_clear()
    with pytest.raises(ValueError, match="is not the file"):
        charset_model.load_charset_model()
    monkeypatch.undo()
    charset_model.load_charset_model.cache_clear()
