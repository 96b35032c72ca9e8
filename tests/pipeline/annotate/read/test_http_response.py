"""HTTP responses as archives really hold them."""

import gzip
import zlib

import brotli
import pytest
import zstandard

from pipeline.annotate.read.http_response import HttpBody, decode_http_response

PAGE = "<!doctype html><html><title>页面</title>".encode() + b"<p>some text of a page</p>" * 40


def decode(payload: bytes) -> HttpBody | str:
    return decode_http_response(payload, max_bytes=1 << 20, max_ratio=100)


def response(body: bytes, *headers: str, status: str = "200 OK", content_type: str = "text/html") -> bytes:
    lines = [f"HTTP/1.1 {status}", *([f"Content-Type: {content_type}"] if content_type else []), *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(body: bytes, size: int = 300) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return (
        b"".join(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nTrailer: x\r\n\r\n"
    )


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


CODED = {
    "gzip": gzip.compress(PAGE),
    "x-gzip": gzip.compress(PAGE[:100]) + gzip.compress(PAGE[100:]) + b"trailing",
    "deflate": zlib.compress(PAGE),
    "Deflate": raw_deflate(PAGE),
    "br": brotli.compress(PAGE),
    "zstd": zstandard.compress(PAGE),
    "identity": PAGE,
    "gzip, gzip": gzip.compress(gzip.compress(PAGE)),
    "deflate, br": brotli.compress(zlib.compress(PAGE)),
}


@pytest.mark.parametrize("coding", CODED)
def test_codings_named_in_the_header(coding):
    found = decode(response(CODED[coding], f"Content-Encoding: {coding}"))
    assert found == HttpBody(200, "text/html", "", "", PAGE, False)
    found = decode(
        response(chunked(CODED[coding]), f"content-encoding:{coding}", "Transfer-Encoding: chunked")
    )
    assert found == HttpBody(200, "text/html", "", "", PAGE, False)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "utf-8", "none"])
def test_bodies_already_decoded_are_read_as_they_are(coding):
    for body in (PAGE, "<p>日本".encode("iso2022_jp"), "<p>text".encode("utf-16"), b""):
        found = decode(response(body, f"Content-Encoding: {coding}", "Transfer-Encoding: chunked"))
        assert isinstance(found, HttpBody)
        assert (found.body, found.truncated) == (body, False)


def test_gzip_that_the_header_does_not_name():
    found = decode(response(gzip.compress(PAGE)))
    assert isinstance(found, HttpBody) and found.body == PAGE


@pytest.mark.parametrize("coding", ["gzip", "deflate", "Deflate", "br"])
def test_truncated_bodies_are_kept_and_flagged(coding):
    page = PAGE + bytes(n * 7919 % 95 + 32 for n in range(30_000)).replace(b"\\", b" ")
    coded = {"gzip": gzip.compress, "deflate": zlib.compress, "Deflate": raw_deflate, "br": brotli.compress}[
        coding
    ](page)
    found = decode(response(coded[:-5], f"Content-Encoding: {coding}"))
    assert isinstance(found, HttpBody)
    assert found.truncated and found.body and page.startswith(found.body)


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(PAGE)[:40] + b"\xff\xff" * 9 + gzip.compress(PAGE)[60:],
        gzip.compress(PAGE)[:10],
        b"\x1f\x8b\x08\xff",
    ],
    ids=["overwritten", "a header alone", "flags that are not"],
)
def test_damaged_bodies_are_refused(body):
    assert decode(response(body, "Content-Encoding: gzip")) == "bad_content_encoding"


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "compress", "aws-chunked, dcb"])
def test_bytes_that_no_coding_explains(coding):
    body = bytes(n * n * 31 % 256 for n in range(2_000))
    assert decode(response(body, f"Content-Encoding: {coding}")) == "bad_content_encoding"
    assert decode(response(body, "Content-Encoding: a, b, c, d, e")) == "bad_content_encoding"


def test_bombs_and_large_pages():
    zeros = b"\0" * (8 << 20)
    for coding, compress in {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}.items():
        assert decode(response(compress(zeros), f"Content-Encoding: {coding}")) in (
            "ratio_cap",
            "page_too_large",
        )
    assert decode(response(zstandard.compress(zeros), "Content-Encoding: zstd")) in (
        "ratio_cap",
        "page_too_large",
    )
    small = decode_http_response(
        response(gzip.compress(zeros[: 3 << 20]), "Content-Encoding: gzip"), max_bytes=50 << 20, max_ratio=100
    )
    assert small == "ratio_cap"
    assert decode(response(b"<p>" * 400_000)) == "page_too_large"
    assert decode(response(chunked(b"<p>" * 400_000), "Transfer-Encoding: chunked")) == "page_too_large"


@pytest.mark.parametrize(
    ("body", "expected", "truncated"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello", False),
        (b"5\nhello\n0\n\n", b"hello", False),
        (b"005 \r\nhello\r\n2\r\n!!\r\n0\r\n\r\nrest", b"hello!!", False),
        (b"0\r\n\r\n", b"", False),
        (b"<p>not chunked", b"<p>not chunked", False),
        (b"5\r\nhello\r\n", b"hello", True),
        (b"5\r\nhello\r\n1", b"hello", True),
        (b"ffff\r\nhello", b"hello", True),
    ],
)
def test_chunking(body, expected, truncated):
    found = decode(response(body, "Transfer-Encoding: chunked"))
    assert isinstance(found, HttpBody)
    assert (found.body, found.truncated) == (expected, truncated)


@pytest.mark.parametrize(
    "body", [b"3\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\nzz\r\nhello", b"5\r\nhello\r\n-1\r\n"]
)
def test_broken_chunking_is_refused(body):
    assert decode(response(body, "Transfer-Encoding: chunked")) == "bad_chunking"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "bad_http"),
        (b"<html>no headers at all", "bad_http"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html", "bad_http"),
        (b"HTTP/1.1 20x OK\r\n\r\n<p>", "bad_http"),
        (b"HTTP/1.1 2000 OK\r\n\r\n<p>", "bad_http"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 60_000 + b"\r\n<p>", "bad_http"),
        (response(PAGE, status="404 Not Found"), "http_status"),
        (response(PAGE, status="302"), "http_status"),
        (response(b"%PDF", content_type="application/pdf"), "not_html"),
        (response(PAGE, content_type="text/plain; charset=utf-8"), "not_html"),
        (response(b"just words", content_type=""), "not_html"),
        (response(b"\x89PNG\r\n" * 10, content_type="html"), "not_html"),
    ],
)
def test_what_is_no_page(payload, reason):
    assert decode(payload) == reason


@pytest.mark.parametrize(
    ("content_type", "expected", "charset"),
    [
        ("text/html; charset=GB2312", "text/html", "gb2312"),
        ('TEXT/HTML;Charset = "Shift_JIS"; x=y', "text/html", "shift_jis"),
        ("application/xhtml+xml;charset='utf-8'", "application/xhtml+xml", "utf-8"),
        ("text/html, text/html; charset=big5", "text/html", "big5"),
        ("text/html; charset=", "text/html", ""),
        ("", "", ""),
        ("html", "", ""),
    ],
)
def test_content_types(content_type, expected, charset):
    found = decode(response(PAGE, content_type=content_type))
    assert isinstance(found, HttpBody)
    assert (found.content_type, found.charset) == (expected, charset)


def test_heads_as_they_come():
    for head in (
        b"HTTP/1.0 200\r\nContent-Type: text/html\r\n\r\n",
        b"HTTP/2 200 \nContent-Type: text/html\n\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n"
        b"HTTP/1.1  200 OK\r\ncontent-type :text/html\r\n\r\n",
        b"HTTP/1.1 200 OK\r\r\nContent-Type:\r\r\n text/html\r\r\n\r\r\n",
    ):
        found = decode(head + PAGE)
        assert isinstance(found, HttpBody), head
        assert (found.content_type, found.body) == ("text/html", PAGE)
    assert decode(b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000) == "http_status"
