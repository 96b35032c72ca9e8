"""UTF-8 that somebody took for a single-byte charset and wrote as UTF-8 again ("Ã©" for "é"): undone when
certain.

Certain means: every character of the whole document has a byte in that charset, these bytes are valid UTF-8
without exception, and it is more than a few characters. (A look at another document ends at its first
character that the charset lacks, or at the first byte that does not fit.) No text of any language does that
by chance: of the bytes above 127 each would have to stand in a sequence of the right length. A document in
which only a part went wrong stays as it is; so does one with a character lost (a "?" or U+FFFD for a byte
without character).
"""

import codecs
import re

_READ_AS = ("windows-1252", "windows-1251")
_PYTHON = {"windows-1252": "cp1252", "windows-1251": "cp1251"}
_MIN_SEQUENCES = 8
_MIN_KINDS = 3
_SLOPPY = "sluice-sloppy"
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def repair_mojibake(text: str) -> tuple[str, str]:
    """(text, "") as it came, or (repaired text, the charset that its UTF-8 had been taken for)."""
    for charset in _READ_AS:
        try:
            repaired = text.encode(_PYTHON[charset], _SLOPPY).decode("utf-8")
        except UnicodeError:
            continue
        found = _NOT_ASCII.findall(repaired)
        if len(found) >= _MIN_SEQUENCES and len(set(found)) >= _MIN_KINDS:
            return repaired, charset
    return text, ""


def _encode_control(error: UnicodeError) -> tuple[bytes, int]:
    """U+0080 to U+009F are what bytes without character, or ISO 8859-1, became."""
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if "\x80" <= character <= "\x9f":
        return bytes([ord(character)]), error.start + 1
    raise error


codecs.register_error(_SLOPPY, _encode_control)
