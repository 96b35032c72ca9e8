"""A raw HTTP response, as archives hold it, to the bytes of an HTML page. Runs on untrusted input in the
sandbox.

Lenient where real archives are odd (line ends, a missing status text, bodies already de-chunked or decoded),
strict about what would be guesswork. Cost: about 5 µs for a body without codings.
"""

import re
from dataclasses import dataclass

from pipeline.annotate.read.content_encoding import Body, remove_chunking, remove_content_encoding
from pipeline.annotate.read.inflate import Damaged

_HEAD_BYTES = 256 << 10  # browsers refuse longer heads
_HEAD_END = re.compile(rb"\n\r*\n")
_FOLD = re.compile(rb"\r*\n[ \t]+")
_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d+)?[ \t]+(\d{3})(?![^ \t\r\n])")
_MAX_INTERIM = 8  # "100 Continue" responses before the real one

_HTML_TYPES = ("text/html", "application/xhtml+xml")
_UNKNOWN_TYPES = ("unknown/unknown", "application/unknown")  # as if there were none (WHATWG MIME Sniffing, 7)
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+")
_CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([\w.:+-]+)""", re.IGNORECASE)
_SNIFFED_BYTES = 1_445  # what browsers look at (WHATWG MIME Sniffing, 5.1)
_HTML_TAG = re.compile(  # the tags of WHATWG MIME Sniffing, 7.1, anywhere in the start
    rb"<(?:!doctype html|html|head|body|title|script|style|h1|div|table|iframe|font|meta|link|p|br|a|b)"
    rb"[\s>/]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class HttpBody:
    """An HTML page without its codings."""

    status: int
    content_type: str  # without parameters, in lower case; "" if absent
    charset: str  # as the header declares it, in lower case; "" if absent
    language: str  # Content-Language as declared
    body: bytes
    truncated: bool  # its coding promised more than the archive holds


def decode_http_response(payload: bytes, *, max_bytes: int, max_ratio: int) -> HttpBody | str:
    """The page in a response, or the reason why there is none.

    Reasons: bad_http, http_status (not 200), not_html, bad_chunking, bad_content_encoding, ratio_cap (output
    over max_ratio times the input, beyond 1 MiB), page_too_large (over max_bytes).
    """
    start = _skip_interim(payload)
    status_line = _STATUS_LINE.match(payload, start)
    if not status_line:
        return "bad_http"
    status = int(status_line.group(1))
    if status != 200:
        return "http_status"
    head_end = _HEAD_END.search(payload, start, start + _HEAD_BYTES)
    if not head_end:
        return "bad_http"
    fields = _parse_fields(payload[status_line.end() : head_end.start()])
    declared = fields.get("content-type", "")
    found = _MEDIA_TYPE.match(declared.strip().lower())
    content_type = found.group() if found and found.group() not in _UNKNOWN_TYPES else ""
    if content_type and content_type not in _HTML_TYPES:
        return "not_html"
    try:
        body = _decode_body(payload[head_end.end() :], fields, max_bytes, max_ratio)
    except Damaged as damage:
        return damage.reason
    if not content_type and not _HTML_TAG.search(body.content[:_SNIFFED_BYTES].replace(b"\0", b"")):
        return "not_html"
    charset = _CHARSET.search(declared)
    label = charset.group(1).lower() if charset else ""
    language = fields.get("content-language", "")
    return HttpBody(status, content_type, label, language, body.content, body.truncated)


def _skip_interim(payload: bytes) -> int:
    """Where the real response starts behind interim ones ("100 Continue")."""
    start = 0
    for _ in range(_MAX_INTERIM):
        status_line = _STATUS_LINE.match(payload, start)
        head_end = _HEAD_END.search(payload, start, start + _HEAD_BYTES)
        if not (status_line and head_end and status_line.group(1).startswith(b"1")):
            break
        if not _STATUS_LINE.match(payload, head_end.end()):
            break
        start = head_end.end()
    return start


def _decode_body(body: bytes, fields: dict[str, str], max_bytes: int, max_ratio: int) -> Body:
    truncated = False
    if "chunked" in _listed(fields, "transfer-encoding"):
        chunked = remove_chunking(body)
        body, truncated = chunked.content, chunked.truncated
    codings = [name for name in _listed(fields, "content-encoding") if name != "identity"]
    decoded = remove_content_encoding(body, codings, max_bytes=max_bytes, max_ratio=max_ratio)
    return Body(decoded.content, decoded.truncated or truncated)


def _parse_fields(head: bytes) -> dict[str, str]:
    """Header fields by lower-case name; of several Content-Types the last is valid, all else is a list."""
    fields: dict[str, str] = {}
    for line in _FOLD.sub(b" ", head).split(b"\n")[1:]:
        name_bytes, _, value_bytes = line.partition(b":")
        name, value = name_bytes.strip().lower().decode("latin-1"), value_bytes.strip().decode("latin-1")
        fields[name] = f"{fields[name]},{value}" if name in fields and name != "content-type" else value
    return fields


def _listed(fields: dict[str, str], name: str) -> list[str]:
    return [coding for part in fields.get(name, "").split(",") if (coding := part.strip().lower())]
