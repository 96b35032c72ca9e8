"""Digests of texts, URLs and places: what they keep apart, what they join, and their frozen values."""

import hashlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.annotate.digests import canonical_url, document_ids, text_digests, url_digests


def blake(content: bytes, tag: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16, person=tag).digest()


def test_text_digests_are_blake2b_of_the_fold() -> None:
    digests = text_digests(pa.array(["Hello, World!", "米酒 2", "?!", "", None]))
    assert digests.type == pa.binary(16)
    assert digests.to_pylist() == [
        blake(b"helloworld", b"sluice-fold-v1"),
        blake("米酒2".encode(), b"sluice-fold-v1"),
        blake(b"?!", b"sluice-raw-v1"),
        blake(b"", b"sluice-raw-v1"),
        None,
    ]


@pytest.mark.parametrize(
    ("fold", "folded", "tag"),
    [
        ("none-v1", "Ｔel. 5²: 臺灣", b"sluice-none-v1"),
        ("fold-v1", "ｔel5²臺灣", b"sluice-fold-v1"),
        ("nfkc-v1", "tel52臺灣", b"sluice-nfkc-v1"),
        ("nfkc-digits-v1", "tel00臺灣", b"sluice-digits-v1"),
        ("nfkc-hans-v1", "tel52台湾", b"sluice-hans-v1"),
    ],
)
def test_every_fold_has_its_own_digest(fold: str, folded: str, tag: bytes) -> None:
    digests = text_digests(pa.array(["Ｔel. 5²: 臺灣", "", None]), fold=fold)
    assert digests.to_pylist() == [blake(folded.encode(), tag), blake(b"", b"sluice-raw-v1"), None]


def test_equal_up_to_case_spacing_and_punctuation() -> None:
    same = text_digests(pa.array(["A day, at sea.", "a DAY at\n\nsea", "A\u00a0day — at sea!"])).to_pylist()
    assert len(set(same)) == 1
    other = ["A day at see", "A day at sea 2", "Á day at sea", "...", "....", ""]
    assert len({*same, *text_digests(pa.array(other)).to_pylist()}) == len(other) + 1


@pytest.mark.parametrize("storage", [pa.string(), pa.large_string()])
def test_slices(storage: pa.DataType) -> None:
    texts = pa.array(["gone", "a", None, "!", "b", "gone"], storage)
    assert text_digests(texts.slice(1, 4)).to_pylist() == text_digests(texts).to_pylist()[1:5]
    assert text_digests(pa.array([], storage)).to_pylist() == []


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("http://Example.COM/", "example.com"),
        ("https://www.example.com", "example.com"),
        ("HTTPS://WWW.Example.com:443/a/", "example.com/a"),
        ("http://example.com:80/a", "example.com/a"),
        ("http://example.com:443/a", "example.com:443/a"),  # not the port that http implies
        ("http://example.com:/a", "example.com/a"),
        ("http://example.com./a", "example.com/a"),
        ("http://example.com/a#b?c", "example.com/a"),
        ("http://example.com/a?#b", "example.com/a"),
        ("http://example.com/a/?q=1/", "example.com/a?q=1/"),
        ("http://example.com?q=A%2fb", "example.com?q=A%2Fb"),
        ("http://example.com/%7Ea%2d%e4%bd%a0", "example.com/~a-%E4%BD%A0"),
        ("http://example.com/你", "example.com/%E4%BD%A0"),
        ("http://example.com/a b", "example.com/a%20b"),
        ("http://example.com/100%", "example.com/100%"),
        ("http://Example.com/Path", "example.com/Path"),
        ("http://www.com/", "www.com"),
        ("http://www.example.com.:80//", "example.com"),
        ("http://User:Pass@www.example.com/", "User:Pass@example.com"),
        ("http://[2001:DB8::1]:80/x", "[2001:db8::1]/x"),
        ("ftp://Example.com/a/", "ftp://example.com/a"),
        ("  http://example.com/a\n", "example.com/a"),
        ("not a url#x", "not%20a%20url"),
        ("http://[", "["),
    ],
)
def test_canonical_urls(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical


@given(
    st.one_of(
        st.text(), st.text("htps:/w.EexamplCOM%2fF7e#?@[]é \\\n"), st.from_regex(r"https?://[a-zW.:0-9]*/.*")
    )
)
def test_any_string_has_a_canonical_form(url: str) -> None:
    assert isinstance(canonical_url(url), str)
    assert canonical_url(url).isascii()


def test_url_digests() -> None:
    urls = pa.array(
        ["gone", "http://www.example.com/a/", "https://example.com/a", "", None, "http://example.com/A"]
    ).slice(1)
    one, same, empty, missing, other = url_digests(urls).to_pylist()
    assert one == same == blake(b"example.com/a", b"sluice-url-v1")
    assert (empty, missing) == (None, None)
    assert other != one


def ids(source: str, *rows: tuple[str, int, int, str | None]) -> list[bytes]:
    paths, offsets, indexes, own = zip(*rows, strict=True)
    return document_ids(
        source,
        pa.array(paths),
        offsets=pa.array(offsets, pa.uint64()),
        indexes=pa.array(indexes, pa.uint32()),
        source_ids=pa.array(own, pa.string()),
    ).to_pylist()


def test_ids_are_frozen() -> None:
    def field(content: bytes) -> bytes:
        return len(content).to_bytes(8, "little") + content

    place = field(b"web") + field(b"place") + field("a/é.warc.gz".encode())
    place += field((5_000_000_000).to_bytes(8, "little")) + field((7).to_bytes(8, "little"))
    own = field(b"web") + field(b"own") + field(b"doc-1")
    assert ids("web", ("a/é.warc.gz", 5_000_000_000, 7, ""), ("a/é.warc.gz", 5_000_000_000, 7, "doc-1")) == [
        blake(place, b"sluice-id-v1"),
        blake(own, b"sluice-id-v1"),
    ]
    assert ids("web", ("a", 0, 0, None))[0].hex() == "0544f76d9ec6df70bbc26cf6d8496888"


def test_every_field_of_a_place_counts_and_none_runs_into_the_next() -> None:
    base = ("a.jsonl", 10, 2, "")
    others = [
        ("b.jsonl", 10, 2, ""),
        ("a.jsonl", 11, 2, ""),
        ("a.jsonl", 10, 3, ""),
        ("a.jsonl", 2, 10, ""),
        ("", 0, 0, "a.jsonl"),
    ]
    assert len(set(ids("web", base, *others))) == 6
    assert len({*ids("web", base), *ids("we", ("ba.jsonl", 10, 2, "")), *ids("books", base)}) == 3


def test_an_own_id_stands_for_the_document_wherever_it_is() -> None:
    moved = ids("web", ("a", 1, 0, "x"), ("b", 2, 9, "x"), ("b", 2, 9, "y"))
    assert moved[0] == moved[1] != moved[2]
    assert ids("web", ("a", 1, 0, "")) == ids("web", ("a", 1, 0, None))


def test_rows_that_do_not_match_are_refused() -> None:
    one, two = pa.array([1]), pa.array([1, 2])
    with pytest.raises(ValueError, match="1 paths, 2 offsets"):
        document_ids("web", pa.array(["a"]), offsets=two, indexes=one, source_ids=pa.array([""]))
