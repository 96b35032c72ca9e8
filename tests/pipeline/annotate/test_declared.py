import random
import re

import pytest

from pipeline.annotate.declared import MAX_AUTHOR, Declared, parse_day, parse_language, read_declared

PERSON = '{"@type": "Person", "url": "/x", "name": "Mar\\u00eda \\"Mia\\" Díaz"}'


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("2024-05-31T23:59:00-08:00", "2024-05-31"),
        ("2024-5-1", "2024-05-01"),
        ("20240531", "2024-05-31"),
        (" 2024/05/31 10:00", "2024-05-31"),
        ("2024年5月31日", "2024-05-31"),
        ("Fri, 31 May 2024 08:00:00 GMT", "2024-05-31"),
        ("May 31st, 2024", "2024-05-31"),
        ("31. May 2024", ""),  # only as English writes it
        ("1 Sept. 1998", "1998-09-01"),
        ("2024-02-30", ""),
        ("2024-13-01", ""),
        ("2024-05", ""),
        ("05/06/2024", ""),  # two days
        ("0000-01-01", ""),
        ("1717142400", ""),
        ("yesterday", ""),
        ("", ""),
    ],
)
def test_days(value: str, day: str) -> None:
    assert parse_day(value) == day


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("zh-CN", "zh-cn"),
        ("en_US", "en-us"),
        (" de , fr", "de"),
        ("zh-Hant-TW", "zh-hant-tw"),
        ("english", ""),
        ("{{lang}}", ""),
        ("en" + "-abcdefgh" * 4, ""),
        ("中文", ""),
    ],
)
def test_language_tags(value: str, tag: str) -> None:
    assert parse_language(value) == tag


@pytest.mark.parametrize(
    ("page", "author", "published"),
    [
        ('<meta name="author" content="Ann &amp; Bob">', "Ann & Bob", ""),
        ("<META content='Ann' NAME='Author'><meta content=2024-05-31 name=pubdate>", "Ann", "2024-05-31"),
        ('<meta name="citation_author" content="Li, A."><meta name="citation_author" content="Wu, B.">'
         '<meta name="citation_publication_date" content="2019/07/02">', "Li, A.; Wu, B.", "2019-07-02"),
        ('<meta property="article:author" content="https://x.com/ann"><a rel="author" href=/a><b>Ann</b></a>',
         "Ann", ""),
        (f'<script type="application/ld+json">{{"author": [{PERSON}], "datePublished": "2020-01-02",}}',
         'María "Mia" Díaz', "2020-01-02"),
        ('<script type=application/ld+json>{"author":"Ann","datePublished":"soon"}</script>', "Ann", ""),
        ('<i itemprop="author" itemscope><span itemprop="name">Ann</span></i>'
         '<time itemprop="datePublished" datetime="2018-03-04">', "Ann", "2018-03-04"),
        ('<p>by <time datetime="2018-03-04T10:00"> and <time datetime="2018-03-04T11:00">', "", "2018-03-04"),
        ('<time datetime="2018-03-04"><time datetime="2018-03-05">', "", ""),  # a list of posts
        ("<p>by Ann, on 2018-03-04", "", ""),
        ("<meta name=author content='\x07\x1b[31m Ann\nLee \u202f'>", "[31m Ann Lee", ""),
        ("<meta name=author content='2024'><meta name=date content=0>", "", ""),
    ],
)  # fmt: skip
def test_author_and_day(page: str, author: str, published: str) -> None:
    assert read_declared(page) == Declared(author, published, "")


def test_declarations_beat_what_stands_in_the_page() -> None:
    page = (
        '<head><meta property="article:published_time" content="2021-01-01"></head>'
        '<body><time datetime="2022-02-02"><meta name="author" content="not in the head">'
    )
    assert read_declared(page) == Declared("", "2021-01-01", "")


def test_language_of_the_page_before_that_of_the_header() -> None:
    assert read_declared('<!doctype html>\n<HTML xml:lang="de-AT">', "fr").language == "de-at"
    assert read_declared('<meta http-equiv="Content-Language" content="ja">', "fr").language == "ja"
    assert read_declared("<html class=lang>", "fr, en").language == "fr"
    assert read_declared("<html lang=''>").language == ""


def test_lengths_are_bounded_and_nothing_fails() -> None:
    long = read_declared(f"<meta name=author content='{'x' * 900}'>" * 20)
    assert len(long.author) == MAX_AUTHOR
    draw = random.Random(5)
    pieces = [
        "<meta ",
        "name=author ",
        "content=",
        '"',
        "'",
        ">",
        '"author"',
        ":",
        "{",
        '"name"',
        "ld+json",
        "\\u",
    ]
    pieces += [
        "<time ",
        "datetime=",
        "2024-01-01",
        "itemprop=",
        "datePublished",
        "<html lang=",
        "\ud800",
        "\0",
        "é",
    ]
    for _ in range(3000):
        found = read_declared(
            "".join(draw.choices(pieces, k=draw.randrange(40))), draw.choice(["", "x-é", "en"])
        )
        assert re.fullmatch(r"(\d{4}-\d\d-\d\d)?", found.published)
        assert found.author.encode() is not None and not re.search(r"[\x00-\x1f\x7f]", found.author)
