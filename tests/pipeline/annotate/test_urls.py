import pyarrow as pa
import pytest

from pipeline.annotate.urls import canonical_urls, measure_urls, registered_domain, registered_domains
from pipeline.counts import URL_COUNTS


@pytest.mark.parametrize(
    ("url", "domain"),
    [  # most of them from publicsuffix.org's own test cases
        ("https://WWW.Example.COM/a", "example.com"),
        ("http://a.b.example.com:8080/", "example.com"),
        ("https://news.bbc.co.uk/1", "bbc.co.uk"),
        ("https://co.uk/", "co.uk"),
        ("https://someone.github.io/blog", "someone.github.io"),
        ("https://github.io/", "github.io"),
        ("https://b.c.kobe.jp/", "b.c.kobe.jp"),
        ("https://a.b.c.kobe.jp/", "b.c.kobe.jp"),
        ("https://city.kobe.jp/", "city.kobe.jp"),  # an exception of the list
        ("https://x.city.kobe.jp/", "city.kobe.jp"),
        ("https://test.k12.ak.us/", "test.k12.ak.us"),
        ("https://www.食狮.公司.cn/", "xn--85x722f.xn--55qx5d.cn"),
        ("https://a.b.no-such-suffix/", "b.no-such-suffix"),
        ("http://127.0.0.1:80/x", "127.0.0.1"),
        ("http://localhost/", "localhost"),
        ("", ""),
        ("/only/a/path", ""),
    ],
)
def test_registered_domain(url: str, domain: str) -> None:
    assert registered_domain(url) == domain


def test_columns_of_urls() -> None:
    urls = pa.array(
        ["https://www.a.com/b/2024/c.html?x=1&y=2#z", "", None, "http://a.com", "ftp://a.com/b//c/"]
    )
    assert canonical_urls(urls).to_pylist()[:4] == ["a.com/b/2024/c.html?x=1&y=2", "", "", "a.com"]
    assert registered_domains(urls).to_pylist() == ["a.com", "", "", "a.com", "a.com"]
    counts = measure_urls(urls)
    assert counts.schema.names == list(URL_COUNTS)
    rows = [tuple(row.values()) for row in counts.to_pylist()]
    assert rows == [(27, 6, 3, 2), (0, 0, 0, 0), (0, 0, 0, 0), (5, 0, 0, 0), (16, 0, 2, 0)]
    assert measure_urls(urls.slice(0, 0)).num_rows == 0 and measure_urls(urls.slice(3, 1)).num_rows == 1
