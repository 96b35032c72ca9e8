"""Which characters do these bytes mean? Decides the charset of a page and decodes it.

Order of trust: byte order mark; bytes that prove themselves UTF-8 (chance agreement is next to impossible);
the HTTP header; the page's own <meta> or XML declaration; the most likely charset by its letters
(charset_model.py). A declaration is not believed if more than a quarter of the non-ASCII characters come out
as U+FFFD, or if the text is far more likely in another charset (Big5 declared as GBK, Polish or Russian under
the iso-8859-1 that servers and editors write without having looked): by 15 nats and 0.3 more for every byte
above 127, 0.1 for iso-8859-1. Languages that the model does not know are then still read as declared.

UTF-8 that was taken for windows-1252 or windows-1251 on its way and written as UTF-8 again is undone where
that is certain (mojibake.py); the name of such a charset is "utf-8 as windows-1252".

Costs 0.1 to 0.3 ms for 25 kB of UTF-8, 1 to 3 ms for as much text where the model has to be asked, which
looks at 128 kB at most. tests/benchmarks/charset.py compares it with others. Not read: EUC-TW, UTF-7 and
UTF-32 (which browsers refuse, too), Hebrew in visual order.
"""

import re

from pipeline.annotate.charset_labels import MULTIBYTE, decode_as, resolve_charset
from pipeline.annotate.charset_model import COST_STEPS, Evidence, weigh_charsets
from pipeline.annotate.mojibake import repair_mojibake

_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16le"),
    (b"\xfe\xff", "utf-16be"),
)
# Files that servers send as text/html by mistake and that begin with readable bytes.
_BINARY_MAGIC = (
    b"%PDF-",
    b"\x89PNG",
    b"GIF8",
    b"\xff\xd8\xff",
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"RIFF",
    b"\x7fELF",
)
# Control characters that text does not hold. NUL is not among them: some servers pad pages with it. Escape
# neither: it introduces the shifts of ISO-2022-JP.
_CONTROLS = bytes(sorted(set(range(1, 0x20)) - set(b"\t\n\v\f\r\x1b")))
_SHIFT_TO_JAPANESE = b"\x1b$"
_SHIFT_TO_CHINESE, _SHIFT_BACK = b"~{", b"~}"
_MAX_CONTROL_SHARE = 20  # one in 20 bytes; uniformly random bytes hold one in 10
_MAX_BROKEN_SHARE = 4  # one in 4 non-ASCII characters
# A Chinese character in GBK has two bytes that are valid UTF-8 with a chance of about 1 in 6.
_MULTIBYTE_PROOF = 4
# How much likelier another charset has to be than the declared one: nats in all, tenths per byte above 127.
_DOUBT, _DOUBT_PER_BYTE, _DOUBT_PER_BYTE_LATIN = 15, 3, 1

_DECLARATION_BYTES = 4096  # the standard's prescan stops at 1,024; real heads are longer
_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META = re.compile(rb"<meta[\s/][^>]*", re.IGNORECASE)
_META_CHARSET = re.compile(rb"(?<![\w-])charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE | re.ASCII)
_XML_ENCODING = re.compile(rb"\s*<\?xml\s[^>]*?encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE | re.ASCII)
_HIGH = re.compile(rb"[\x80-\xff]")
_LOOK_BYTES = 4096
_NOT_ASCII = re.compile("[^\x00-\x7f]+")


def decode_page(body: bytes, *, header_charset: str) -> tuple[str, str] | None:
    """Return (text, WHATWG name of the charset in lower case), or None if the bytes are no text."""
    if body.startswith(_BINARY_MAGIC):
        return None
    for mark, encoding in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return _decode_believed(body[len(mark) :], encoding)
    if b"\0" in body and (encoding := _guess_utf16(body)):
        return _decode_believed(body, encoding)
    if _is_mostly_controls(body):
        return None

    declared = _declared_charsets(body, header_charset)
    legacy = declared[0] if declared and declared[0] in MULTIBYTE else ""
    if body.isascii():
        legacy = _guess_shifted(body) or legacy
    text = _decode_strictly(body)
    if text is not None and (not legacy or _proves_utf8(text, legacy)):
        text, taken_for = (text, "") if text.isascii() else repair_mojibake(text)
        return text, f"utf-8 as {taken_for}" if taken_for else "utf-8"
    # Damaged UTF-8 is still UTF-8 where most of it holds: no other charset looks like it.
    utf8 = ["utf-8"] if text is not None or _looks_like_utf8(body) else []
    return _decode_best(body, [legacy, *declared, *utf8] if legacy else [*utf8, *declared])


def find_declared_charset(body: bytes) -> str:
    """Return the encoding that <?xml encoding> or <meta> declares in the first 4,096 bytes, "" if none."""
    head = body[:_DECLARATION_BYTES]
    if (xml := _XML_ENCODING.match(head)) and (encoding := resolve_charset(xml[1].decode("ascii"))):
        return encoding
    for tag in _META.findall(_COMMENT.sub(b"", head)):
        lower = tag.lower()
        if b"content" in lower and b"http-equiv" not in lower:  # a description that talks about charsets
            continue
        if (match := _META_CHARSET.search(tag)) and (encoding := resolve_charset(match[1].decode("ascii"))):
            return encoding
    return ""


def _declared_charsets(body: bytes, header_charset: str) -> list[str]:
    """The declarations, most trusted first."""
    header, page = resolve_charset(header_charset), find_declared_charset(body)
    if header == "windows-1252":
        header, page = page, header
    # UTF-16 would need NULs for its markup: without them the label is a mistake; the standard reads UTF-8.
    return ["utf-8" if encoding.startswith("utf-16") else encoding for encoding in (header, page) if encoding]


def _decode_strictly(body: bytes) -> str | None:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _looks_like_utf8(body: bytes) -> bool:
    """Does half of what stands near the first byte above 127 hold as UTF-8? Spares others the whole look."""
    first = _HIGH.search(body)
    start = first.start() if first else 0
    text = body[start : start + _LOOK_BYTES].decode("utf-8", "replace")
    return text.count("\ufffd") * 2 <= _count_not_ascii(text)


def _proves_utf8(text: str, legacy: str) -> bool:
    """Is valid UTF-8 meant as UTF-8 although a multi-byte legacy charset is declared?"""
    if text.isascii():
        return legacy not in ("iso-2022-jp", "hz-gb-2312")  # these spell Japanese and Chinese in ASCII bytes
    return _count_not_ascii(text) >= _MULTIBYTE_PROOF


def _decode_best(body: bytes, candidates: list[str]) -> tuple[str, str] | None:
    """Decode by the first charset that fits and is no less likely than another by far; if none fits, by the
    one that breaks least, or None.
    """
    evidence = weigh_charsets(body, candidates)
    likeliest = evidence.best
    best: tuple[int, str, str] | None = None
    for encoding in dict.fromkeys([*candidates, likeliest]):
        if not encoding or _is_unlikely(evidence, encoding):
            continue
        text = decode_as(encoding, body)
        broken = text.count("\ufffd")
        if broken * _MAX_BROKEN_SHARE <= _count_not_ascii(text):
            return text, encoding
        if best is None or broken < best[0]:
            best = broken, text, encoding
    if best is None or best[0] * _MAX_CONTROL_SHARE > len(best[1]):
        return None
    return best[1], best[2]


def _is_unlikely(evidence: Evidence, encoding: str) -> bool:
    """Is another charset far likelier than this one? Never for a charset that the model does not know."""
    if encoding not in evidence.costs:
        return False
    per_byte = _DOUBT_PER_BYTE_LATIN if encoding == "windows-1252" else _DOUBT_PER_BYTE
    more = evidence.costs[encoding] - evidence.costs[evidence.best]
    return 10 * more > COST_STEPS * (10 * _DOUBT + evidence.high_bytes * per_byte)


def _guess_shifted(body: bytes) -> str:
    """The charset of ASCII bytes that shift into two-byte characters and back, "" if they do not."""
    if _SHIFT_TO_JAPANESE in body:
        return "iso-2022-jp"
    if _SHIFT_TO_CHINESE in body and _SHIFT_BACK in body:
        text = decode_as("hz-gb-2312", body)
        if "\ufffd" not in text and _count_not_ascii(text) >= _MULTIBYTE_PROOF:
            return "hz-gb-2312"
    return ""


def _count_not_ascii(text: str) -> int:
    return sum(map(len, _NOT_ASCII.findall(text)))


def _decode_believed(body: bytes, encoding: str) -> tuple[str, str] | None:
    text = decode_as(encoding, body)
    broken = text.count("\ufffd")
    return None if broken * _MAX_BROKEN_SHARE > len(text) else (text, encoding)


def _guess_utf16(body: bytes) -> str:
    """Markup in UTF-16 has a NUL in every other byte; which one tells the byte order."""
    head = body[:_DECLARATION_BYTES]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if odd > 4 * even and odd * 4 > len(head[1::2]):
        return "utf-16le"
    if even > 4 * odd and even * 4 > len(head[::2]):
        return "utf-16be"
    return ""


def _is_mostly_controls(body: bytes) -> bool:
    controls = len(body) - len(body.translate(None, _CONTROLS))
    return controls * _MAX_CONTROL_SHARE > len(body) or body.count(0) * 2 > len(body)
