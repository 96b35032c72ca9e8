import pytest

from pipeline.annotate.read.records import Record, SpanAccount
from pipeline.annotate.read.split import read_split
from pipeline.annotate.splits import list_input_files, plan_splits


@pytest.mark.parametrize("format", ["html", "text"])
def test_one_file_is_one_document(tmp_path, format):
    for n in range(30):
        (tmp_path / f"{n:02d}.html").write_bytes(b"<p>page %d" % n)
    splits = plan_splits(list_input_files([str(tmp_path)]), format=format, split_bytes=64)
    assert len(splits) == 5
    payloads, account = [], SpanAccount()
    for split in splits:
        for record in read_split(
            split, format=format, fields={}, max_record_bytes=100, max_ratio=100, account=account
        ):
            assert isinstance(record, Record)
            assert (record.media, record.url, record.offset) == (format, "", 0)
            payloads.append((split[record.span].path, record.payload))
    assert payloads == [(f"{n:02d}.html", b"<p>page %d" % n) for n in range(30)]
    assert account == SpanAccount(spanned=10 * 9 + 20 * 9 + 20, covered=10 * 9 + 20 * 9 + 20, records=30)


def test_pages_keep_their_bytes(read_file):
    content = b"\xef\xbb\xbf<p>\xff\xfe\0"
    assert read_file(content, format="html").records[0].payload == content


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("文本\r\n".encode(), "文本\r\n"),
        ("文本".encode("utf-8-sig"), "文本"),
        ("文本".encode("utf-16"), "文本"),
        (b"\xfe\xff" + "文本".encode("utf-16-be"), "文本"),
        (b"", ""),
    ],
)
def test_texts_become_utf8(read_file, content, text):
    assert read_file(content, format="text", split_bytes=2).records[0].payload.decode() == text


@pytest.mark.parametrize("content", ["文本".encode("gb18030"), b"\xff\xfea", b"\xff\xfe\x00\xd8"])
def test_texts_in_other_encodings_are_set_aside(read_file, content):
    reading = read_file(content, format="text")
    assert reading.reasons == ["not_utf8"] and reading.skips[0].raw == content


@pytest.mark.parametrize("format", ["html", "text"])
def test_files_over_the_cap(read_file, format):
    reading = read_file(b"x" * (2 << 20), format=format, max_record_bytes=1_000)
    assert reading.reasons == ["record_too_large"] and len(reading.skips[0].raw) == 1 << 20
