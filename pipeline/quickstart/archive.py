"""Packs rendered pages into WARC 1.0 files, one gzip member per record, the same bytes on every machine.

Members hold stored (uncompressed) deflate blocks: compressed bytes differ between builds of zlib, and the
packaged files must be reproducible for ever. Cost: about 350 kB instead of 110 kB; wheels and git compress
them anyway. Ids are hashes, times are fixed, and nothing depends on the clock.
Source of the record layout: ISO 28500:2009 (WARC 1.0), gzip: RFC 1952, stored blocks: RFC 1951 section 3.2.4.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
import zlib
from datetime import datetime, timedelta
from http import HTTPStatus

from pipeline.quickstart.page import Page

CRAWL_START = datetime(2023, 7, 1, 6, 0, 0)  # UTC
SECONDS_BETWEEN_FETCHES = 7
STORED_BLOCK_BYTES = 65_535  # RFC 1951: the length field has 16 bits
CUT_AT = 0.55  # the share of the truncated member that is left
REVISIT_PROFILE = "http://netpreserve.org/warc/1.0/revisit/identical-payload-digest"


def store_member(payload: bytes) -> bytes:
    """One gzip member (RFC 1952) that holds `payload` in stored blocks."""
    member = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff"]
    for start in range(0, max(len(payload), 1), STORED_BLOCK_BYTES):
        block = payload[start : start + STORED_BLOCK_BYTES]
        last = start + STORED_BLOCK_BYTES >= len(payload)
        length = len(block)
        member += [
            bytes([last]),
            length.to_bytes(2, "little"),
            (length ^ 0xFFFF).to_bytes(2, "little"),
            block,
        ]
    return b"".join(member) + zlib.crc32(payload).to_bytes(4, "little") + len(payload).to_bytes(4, "little")


def record_id(*parts: str) -> str:
    """A WARC record id that is a function of `parts` only."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()
    return f"<urn:uuid:{uuid.UUID(bytes=digest, version=5)}>"


def payload_digest(payload: bytes) -> str:
    """The digest label of WARC files: sha1 in base 32."""
    return "sha1:" + base64.b32encode(hashlib.sha1(payload, usedforsecurity=False).digest()).decode()


def build_record(kind: str, headers: dict[str, str], *, content: bytes) -> bytes:
    """One WARC/1.0 record, uncompressed: header lines, content, two empty lines."""
    lines = ["WARC/1.0", f"WARC-Type: {kind}", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content + b"\r\n\r\n"


def chunk(payload: bytes, size: int = 4_096) -> bytes:
    """The chunked transfer coding of HTTP/1.1 (RFC 9112 section 7.1)."""
    pieces = [payload[start : start + size] for start in range(0, len(payload), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def http_headers(page: Page, payload: bytes) -> bytes:
    """Status line and headers of the response, with the page's own lies about charset and transfer coding."""
    charset = f"; charset={page.header_charset}" if page.header_charset and page.mime == "text/html" else ""
    lines = [
        f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}",
        f"Content-Type: {page.mime}{charset}",
    ]
    if page.location:
        lines.append(f"Location: {page.location}")
    lines.append("Transfer-Encoding: chunked" if page.transfer else f"Content-Length: {len(payload)}")
    return "\r\n".join([*lines, "Server: example", "", ""]).encode()


def build_visit(page: Page, payload: bytes, *, file: str, position: int) -> list[bytes]:
    """The records of one fetch: request, response and metadata, or request and revisit."""
    moment = CRAWL_START + timedelta(seconds=SECONDS_BETWEEN_FETCHES * position)
    common = {"WARC-Date": moment.strftime("%Y-%m-%dT%H:%M:%SZ"), "WARC-Target-URI": page.url}
    host, _, path = page.url.removeprefix("https://").partition("/")
    ids = {kind: record_id(file, str(position), kind) for kind in ("request", "response", "metadata")}
    request = build_record(
        "request",
        common
        | {"WARC-Record-ID": ids["request"], "WARC-Concurrent-To": ids["response"]}
        | {"Content-Type": "application/http; msgtype=request"},
        content=f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n\r\n".encode(),
    )
    answer = common | {"WARC-Record-ID": ids["response"], "WARC-Payload-Digest": payload_digest(payload)}
    answer["Content-Type"] = "application/http; msgtype=response"
    if page.record == "revisit":
        return [
            request,
            build_record(
                "revisit", answer | {"WARC-Profile": REVISIT_PROFILE}, content=http_headers(page, payload)
            ),
        ]
    sent = chunk(payload) if page.transfer == "chunked" else payload
    response = build_record("response", answer, content=http_headers(page, payload) + sent)
    metadata = build_record(
        "metadata",
        common
        | {"WARC-Record-ID": ids["metadata"], "WARC-Concurrent-To": ids["response"]}
        | {"Content-Type": "application/warc-fields"},
        content=f"fetchTimeMs: {80 + len(payload) // 100}\r\n".encode(),
    )
    return [request, response] if page.cut else [request, response, metadata]


def build_warc(file: str, visits: list[tuple[Page, bytes]]) -> bytes:
    """A whole WARC file; if the last page is marked `cut`, its response member ends in the middle."""
    opening = build_record(
        "warcinfo",
        {
            "WARC-Date": CRAWL_START.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "WARC-Record-ID": record_id(file, "warcinfo"),
            "WARC-Filename": file,
            "Content-Type": "application/warc-fields",
        },
        content=b"software: sluice quickstart\r\nformat: WARC File Format 1.0\r\n",
    )
    records = [opening]
    for position, (page, payload) in enumerate(visits):
        records += build_visit(page, payload, file=file, position=position)
    members = [store_member(record) for record in records]
    if visits[-1][0].cut:
        members[-1] = members[-1][: int(len(members[-1]) * CUT_AT)]
    return b"".join(members)
