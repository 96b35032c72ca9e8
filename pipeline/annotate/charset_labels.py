"""Charset labels as the web writes them -> the encoding that browsers mean -> the Python codec for it.

The table is that of the WHATWG Encoding Standard (section 4.2, "Names and labels"): "gb2312" means gbk,
"iso-8859-1" means windows-1252, "ks_c_5601-1987" means the extended euc-kr. Two differences: gbk is decoded
as its superset GB18030, as the standard's own decoder does, and has one name here; HZ is decoded, where
browsers refuse it. A few labels that detectors and old software use (cp949, cp936, ...) are added. EUC-TW and
ISO-2022-KR are not decoded, as in browsers.
"""

import codecs

# encoding: (Python codec, labels). Python's cp932 is the web's Shift_JIS, its cp949 the web's EUC-KR;
# euc_jis_2004 has NEC's row 13 (circled numbers), which the web's EUC-JP has and Python's euc_jp lacks, and
# differs from euc_jp in no two-byte character.
_ENCODINGS: dict[str, tuple[str, str]] = {
    "utf-8": (
        "utf_8",
        "utf-8 utf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
    ),
    "utf-16le": (
        "utf_16_le",
        "utf-16le utf-16 utf16 utf16le unicode ucs-2 csunicode iso-10646-ucs-2 unicodefeff",
    ),
    "utf-16be": ("utf_16_be", "utf-16be utf16be unicodefffe"),
    "gb18030": (
        "gb18030",
        "gb18030 gbk gb2312 gb_2312 gb_2312-80 csgb2312 iso-ir-58 csiso58gb231280 chinese x-gbk cp936 "
        "ms936 936 "
        "windows-936 euc-cn",
    ),
    "hz-gb-2312": ("hz", "hz-gb-2312 hz"),
    "big5": ("big5hkscs", "big5 big5-hkscs cn-big5 csbig5 x-x-big5 cp950 ms950 windows-950 big5hkscs"),
    "euc-jp": ("euc_jis_2004", "euc-jp x-euc-jp cseucpkdfmtjapanese eucjp"),
    "iso-2022-jp": ("iso2022_jp_ext", "iso-2022-jp iso2022-jp csiso2022jp"),
    "shift_jis": (
        "cp932",
        "shift_jis shift-jis sjis x-sjis ms_kanji csshiftjis ms932 windows-31j cp932 windows-932",
    ),
    "euc-kr": (
        "cp949",
        "euc-kr euckr ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 korean cseuckr csksc56011987 iso-ir-149 "
        "windows-949 cp949 ms949 uhc",
    ),
    "ibm866": ("cp866", "ibm866 cp866 866 csibm866"),
    "iso-8859-2": (
        "iso8859_2",
        "iso-8859-2 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 latin2 l2 iso-ir-101 csisolatin2",
    ),
    "iso-8859-3": (
        "iso8859_3",
        "iso-8859-3 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 latin3 l3 iso-ir-109 csisolatin3",
    ),
    "iso-8859-4": (
        "iso8859_4",
        "iso-8859-4 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 latin4 l4 iso-ir-110 csisolatin4",
    ),
    "iso-8859-5": (
        "iso8859_5",
        "iso-8859-5 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988 cyrillic iso-ir-144 csisolatincyrillic",
    ),
    "iso-8859-6": (
        "iso8859_6",
        "iso-8859-6 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987 iso-8859-6-e iso-8859-6-i arabic asmo-708 "
        "ecma-114 iso-ir-127 csisolatinarabic csiso88596e csiso88596i",
    ),
    "iso-8859-7": (
        "iso8859_7",
        "iso-8859-7 iso8859-7 iso88597 iso_8859-7 iso_8859-7:1987 greek greek8 ecma-118 elot_928 "
        "sun_eu_greek "
        "iso-ir-126 csisolatingreek",
    ),
    "iso-8859-8": (
        "iso8859_8",
        "iso-8859-8 iso8859-8 iso88598 iso_8859-8 iso_8859-8:1988 iso-8859-8-e iso-8859-8-i hebrew "
        "visual logical "
        "iso-ir-138 csisolatinhebrew csiso88598e csiso88598i",
    ),
    "iso-8859-10": (
        "iso8859_10",
        "iso-8859-10 iso8859-10 iso885910 latin6 l6 iso-ir-157 csisolatin6",
    ),
    "iso-8859-13": ("iso8859_13", "iso-8859-13 iso8859-13 iso885913"),
    "iso-8859-14": ("iso8859_14", "iso-8859-14 iso8859-14 iso885914"),
    "iso-8859-15": (
        "iso8859_15",
        "iso-8859-15 iso8859-15 iso885915 iso_8859-15 latin9 latin-9 l9 csisolatin9",
    ),
    "iso-8859-16": ("iso8859_16", "iso-8859-16 iso8859-16"),
    "koi8-r": ("koi8_r", "koi8-r koi8 koi koi8_r cskoi8r"),
    "koi8-u": ("koi8_u", "koi8-u koi8-ru"),
    "macintosh": ("mac_roman", "macintosh mac x-mac-roman csmacintosh mac-roman"),
    "x-mac-cyrillic": ("mac_cyrillic", "x-mac-cyrillic x-mac-ukrainian mac-cyrillic"),
    "windows-874": ("cp874", "windows-874 dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 cp874"),
    "windows-1250": ("cp1250", "windows-1250 cp1250 x-cp1250"),
    "windows-1251": ("cp1251", "windows-1251 cp1251 x-cp1251 win-1251"),
    "windows-1252": (
        "cp1252",
        "windows-1252 cp1252 x-cp1252 iso-8859-1 iso8859-1 iso88591 iso_8859-1 iso_8859-1:1987 latin1 "
        "latin-1 l1 "
        "ascii us-ascii ansi_x3.4-1968 cp819 ibm819 iso-ir-100 csisolatin1 x-user-defined",
    ),
    "windows-1253": ("cp1253", "windows-1253 cp1253 x-cp1253"),
    "windows-1254": (
        "cp1254",
        "windows-1254 cp1254 x-cp1254 iso-8859-9 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 latin5 "
        "l5 iso-ir-148 "
        "csisolatin5",
    ),
    "windows-1255": ("cp1255", "windows-1255 cp1255 x-cp1255"),
    "windows-1256": ("cp1256", "windows-1256 cp1256 x-cp1256"),
    "windows-1257": ("cp1257", "windows-1257 cp1257 x-cp1257"),
    "windows-1258": ("cp1258", "windows-1258 cp1258 x-cp1258"),
}

_WEB = "sluice-web"  # errors: what the standard's tables have and Python's lack

# Characters of several bytes, none of them UTF-8: random Chinese in one of these may also be valid UTF-8.
MULTIBYTE = frozenset({"gb18030", "hz-gb-2312", "big5", "euc-jp", "iso-2022-jp", "shift_jis", "euc-kr"})

_BY_LABEL = {label: encoding for encoding, (_, labels) in _ENCODINGS.items() for label in labels.split()}


def resolve_charset(label: str) -> str:
    """Return the encoding that a label means ("GB2312" -> "gb18030"), "" if it means none."""
    label = label.strip(" \t\r\n\f\"'").lower()
    return _BY_LABEL.get(label) or _BY_LABEL.get(label.replace("_", "-"), "")


def get_codec(encoding: str) -> str:
    """Return the Python codec that decodes an encoding returned by resolve_charset."""
    return _ENCODINGS[encoding][0]


def decode_as(encoding: str, body: bytes) -> str:
    """The text of bytes in an encoding returned by resolve_charset, U+FFFD for what it has no character for.

    As the standard decodes: 0x80 to 0x9F of single-byte charsets that Python leaves undefined are control
    characters (0x81 in windows-1252), and 0x80 in gb18030 is the euro sign of cp936.
    """
    codec = _ENCODINGS[encoding][0]
    if encoding == "utf-8":
        return body.decode(codec, "replace")
    try:
        return body.decode(codec)
    except UnicodeDecodeError:
        return body.decode(codec, _WEB if encoding == "gb18030" or encoding not in MULTIBYTE else "replace")


def _decode_as_browsers(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    byte = error.object[error.start]
    if error.encoding == "gb18030":
        return ("\u20ac" if byte == 0x80 else "\ufffd"), error.start + 1
    if error.encoding == "charmap" and 0x80 <= byte <= 0x9F:
        return chr(byte), error.start + 1
    return "\ufffd", error.end


codecs.register_error(_WEB, _decode_as_browsers)
