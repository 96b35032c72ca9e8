"""Block and allow lists: what an entry stands for, however a URL is written, and where entries lie."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.annotate.digests import host_and_rest
from pipeline.decide.lists import Keys, Lists, entry_key, list_files, list_sha256, read_entries, url_keys


def keys(entries: Iterable[str], kind: str) -> Keys:
    found = {key for entry in entries if (key := entry_key(entry, kind)) is not None}
    return Keys(np.array(sorted(found), np.uint64), np.zeros(len(found), np.uint16))


def lists(
    block: Iterable[str] = (), allow: Iterable[str] = (), kind: str = "domains", only: bool = False
) -> Lists:
    return Lists(keys(block, kind), keys(allow, kind), ("adult",), only)


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("http://example.com", True),
        ("https://a.b.example.com/x?y#z", True),
        ("HTTP://WWW.EXAMPLE.COM.:8080/x", True),
        ("http://user:pass@example.com/", True),
        ("http://user@evil.test:80@example.com/", True),
        ("ftp://example.com/x", True),
        ("//example.com/x", True),
        ("example.com/x", True),
        ("http://example%2Ecom/x", True),
        ("http://example.com\\@good.test/", True),  # as browsers read it
        ("http://badexample.com", False),
        ("http://example.com.good.test/", False),
        ("http://good.test/example.com", False),
        ("http://good.test/?u=http://example.com/", False),
        ("http://com/", False),
        ("", False),
        ("not a url", False),
    ],
)
def test_a_domain_stands_for_its_subdomains(url: str, blocked: bool) -> None:
    for entry in ("example.com", "www.example.com", "*.example.com", ".Example.COM."):
        assert lists([entry]).blocked(pa.array([url])).tolist() == [blocked]


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("http://www.example.com/a/b", True),
        ("https://example.com:443/a/b/", True),
        ("http://example.com/a/b/c", True),
        ("http://example.com/a/b?c=d", True),
        ("http://example.com/%61/b#f", True),
        ("http://example.com/a/bc", False),
        ("http://example.com/a", False),
        ("http://sub.example.com/a/b", False),
        ("http://example.com/A/b", False),
    ],
)
def test_a_url_stands_for_what_lies_below_it(url: str, blocked: bool) -> None:
    for kind in ("urls", "domains"):  # an entry with a path is a URL wherever it stands
        assert lists(["example.com/a/b/"], kind=kind).blocked(pa.array([url])).tolist() == [blocked]


def test_a_url_may_end_in_its_query() -> None:
    of = lists(["example.com/view?id=3"], kind="urls")
    urls = [
        "http://example.com/view?id=3",
        "http://example.com/view?id=3&p=2",
        "http://example.com/view?id=33",
    ]
    assert of.blocked(pa.array([*urls, "http://example.com/view"])).tolist() == [True, True, False, False]


def test_international_names_in_any_form() -> None:
    urls = [
        "http://bücher.example/x",
        "http://BÜCHER.example",
        "http://xn--bcher-kva.example/",
        "http://例え.テスト/",
    ]
    for entry in ("bücher.example", "xn--bcher-kva.example", "Bücher.Example"):
        assert lists([entry]).blocked(pa.array(urls)).tolist() == [True, True, True, False]
    assert lists(["テスト"]).blocked(pa.array(urls)).tolist() == [False, False, False, True]
    assert lists(["例え。テスト"]).blocked(pa.array(urls)).tolist() == [False, False, False, True]


def test_allow_lists_are_exceptions_and_alone_they_are_all() -> None:
    urls = pa.array(["http://example.com/", "http://ok.example.com/a", "http://other.test/", "", None])
    assert lists(["example.com"], ["ok.example.com"]).blocked(urls).tolist() == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert lists([], ["ok.example.com"], only=True).blocked(urls).tolist() == [
        True,
        False,
        True,
        False,
        False,
    ]


def test_the_entry_that_decided_is_named() -> None:
    both = Lists(
        Keys(np.array([entry_key("example.com", "domains")], np.uint64), np.array([1], np.uint16)),
        keys(["ok.example.com"], "domains"),
        ("fine", "adult"),
        False,
    )
    assert both.explain("http://a.example.com/x") == "adult: example.com"
    assert both.explain("http://ok.example.com/x") == "allowed by fine: ok.example.com"
    assert both.explain("http://other.test/") == "on no list"
    below = lists(["example.com/a"], kind="urls")
    assert below.explain("http://example.com/a/b") == "adult: example.com/a"


@given(st.one_of(st.text(), st.from_regex(r"https?://[a-zW.:@%0-9é]*/[/?&a#]*"), st.text("xn-.ß。:/@[]%")))
def test_any_string_has_a_host_and_keys_in_linear_number(url: str) -> None:
    host, rest = host_and_rest(url)
    assert host.isascii() and rest.isascii() and "/" not in host
    found = list(url_keys(url))
    assert len(found) <= len(host) + len(rest) + 2
    if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", host):
        assert entry_key(host, "domains") in {key for key, _ in found}


def test_a_long_url_costs_what_it_is_long() -> None:
    url = "http://" + "a." * 50_000 + "test/" + "b/" * 50_000
    assert lists(["test"]).blocked(pa.array([url])).tolist() == [True]


@pytest.mark.parametrize("entry", ["0.0.0.0 example.com", "/path", "http://", "%"])
def test_what_can_be_on_no_url_is_no_entry(entry: str) -> None:
    assert entry_key(entry, "domains") is None


@pytest.fixture
def ut1(tmp_path: Path) -> Path:
    for name, text in {
        "blacklists/adult/domains": "# a comment\nexample.com\r\n\n  other.test \n",
        "blacklists/adult/urls": "site.test/~user\n",
        "blacklists/adult/usage": "black",
        "blacklists/games/domains": "play.test",
        "mine.txt": "one.test\nsite.test/below\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode())
    return tmp_path


def test_files_and_folders(ut1: Path) -> None:
    def found(path: Path) -> list[tuple[str, str, list[str]]]:
        return [(file.category, file.kind, list(read_entries(file))) for file in list_files(str(path))]

    adult = [("adult", "domains", ["example.com", "other.test"]), ("adult", "urls", ["site.test/~user"])]
    assert found(ut1 / "blacklists") == [*adult, ("games", "domains", ["play.test"])]
    assert found(ut1 / "blacklists" / "adult") == adult
    assert found(ut1 / "mine.txt") == [("mine", "domains", ["one.test", "site.test/below"])]
    (ut1 / "empty").mkdir()
    with pytest.raises(ValueError, match="no file named domains or urls"):
        list_files(str(ut1 / "empty"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list_files(str(ut1 / "nowhere"))


def test_the_hash_is_of_content_and_categories_not_of_the_place(ut1: Path) -> None:
    before = list_sha256(str(ut1 / "blacklists"))
    (ut1 / "blacklists").rename(ut1 / "moved")
    assert list_sha256(str(ut1 / "moved")) == before
    (ut1 / "moved/games/domains").write_text("play.test\nmore.test")
    assert list_sha256(str(ut1 / "moved")) != before
