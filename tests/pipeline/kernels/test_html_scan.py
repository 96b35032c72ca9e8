"""The scanner on small pages whose blocks can be told by eye."""

import html as html_module
import random

import pytest

from pipeline.kernels.html_page import (
    BLOCK_COLUMNS,
    CHARACTERS,
    ELEMENT,
    HIDDEN,
    LANG_START,
    LANG_STOP,
    LINKED,
    MAX_BLOCKS,
    META_PLACES,
    METAS,
    STATES,
)
from pipeline.kernels.html_scan import TooManyBlocks, scan_page, title_bytes


def blocks(html: str | bytes) -> list[str]:
    page = scan_page(html.encode() if isinstance(html, str) else html)
    return page.block_texts()


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("", []),
        ("plain", ["plain"]),
        ("<p>one<p>two</p>three", ["one", "two", "three"]),
        ("<p>a <b>bold</b>  word\n here", ["a bold word here"]),
        ("a < b && c <3 d", ["a < b && c <3 d"]),
        (
            "<p>x&lt;y &amp;&copy; &#8212;&#x4e2d;&#150;&#0; &unknown; &nbsp;z",
            ["x<y &© —中–\ufffd &unknown; z"],
        ),
        ("tea &copy 2 &notanentity 3", ["tea © 2 &notanentity 3"]),
        ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>", ["a", "b", "c", "d"]),
        ("<table><tr><td>1<td>2<tr><td>3</table>4", ["1", "2", "3", "4"]),
        ("<p>one<br>two<br/><br>three", ["one\ntwo", "three"]),
        ("<pre>\n  a\n\tb  <b>c</b>\n</pre>x", ["  a\n\tb  c", "x"]),
        ("<script>if (a < b) '</p>'</script><style>p {}</style>t", ["t"]),
        ("<p>a<!-- no > <p> -->b<!-->c<!--->d<!-- e --!>f", ["abcdf"]),
        ("<p>a<!-- never closed <p>b", ["a"]),
        ("a<!doctype html><?php echo 1 ?>b</ >c", ["abc"]),
        ("<svg><text>no</text></svg>yes<svg>open", ["yesopen"]),
        ('<a href="x>y">z</a><a title=\'a"b\'>w', ["zw"]),
        ('<a href="never closed>link</a> after', ["link after"]),
        ("\0a\x01b\u200bc\ufeffd\u00ade", ["abcde"]),
        ("中文，　全角<p>　　空格", ["中文， 全角", "空格"]),
        ("<textarea>form</textarea><title>A &amp; B</title>x<title>second</title>", ["x"]),
        ("<noscript>no</noscript>a<template>b</template>", ["a"]),
        ("<button>Buy</button>it<select><option>1<option>2</select>", ["Buy", "it", "12"]),
    ],
)
def test_blocks(html: str, expected: list[str]) -> None:
    assert blocks(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('so <script type="math/tex">x^2 &lt; y</script> is', ["so $x^2 < y$ is"]),
        ('<script type="math/tex; mode=display">\n a\n+b </script>', ["$$a +b$$"]),
        (
            "is <math><mi>x</mi><annotation encoding='application/x-tex'>x = 1</annotation></math> so",
            ["is $x = 1$ so"],
        ),
        ('<math alttext="{\\displaystyle E=mc^2}"><mi>E</mi></math>', ["$E=mc^2$"]),
        ("<p><math><mi>y</mi></math> stays", ["y stays"]),
        (
            '<span class="katex"><math><mi>z</mi><annotation encoding="TeX">z_1</annotation></math>'
            '<span class="katex-html" aria-hidden="true"><span>z</span>1</span></span> end',
            ["$z_1$ end"],
        ),
        ('<td class="gutter"><pre>1\n2</pre></td><td class="code"><pre>a = 1</pre>', ["a = 1"]),
    ],
)
def test_formulas_stay_tex_and_are_not_said_twice(html: str, expected: list[str]) -> None:
    assert blocks(html) == expected


def test_head() -> None:
    html = b'<HTML LANG="de-AT"><meta charset=utf-8><title>A &amp; B</title><meta name=author content="x>y">'
    page = scan_page(html)
    assert title_bytes(html, page) == b"A &amp; B"
    assert html[page.state[LANG_START] : page.state[LANG_STOP]] == b"de-AT"
    assert page.state[METAS] == 2
    places = page.state[META_PLACES : META_PLACES + 4]
    assert [html[a:b] for a, b in places.reshape(2, 2)] == [
        b"<meta charset=utf-8>",
        b'<meta name=author content="x>y">',
    ]


def test_invalid_utf8_is_passed_over() -> None:
    assert blocks(b"a\xff\xe4b\xc3\xa9\xed\xa0\x80c\xf4\x90\x80\x80d\xe4\xb8") == ["ab\u00e9cd"]


def test_characters_in_links_are_counted() -> None:
    page = scan_page(b"<p>ab <a href=/>cde</a> f <a>g<a>h</a>")
    assert page.blocks[: page.block_count(), LINKED].tolist() == [5]


@pytest.mark.parametrize(
    "reference", ["amp", "eacute", "hellip", "rarr", "nbsp", "Omega", "thetasym", "euro"]
)
def test_named_references_are_those_of_the_standard(reference: str) -> None:
    text = html_module.unescape(f"&{reference};")
    assert blocks(f"a&{reference};b") == [f"a{text}b".replace("\xa0", " ")]


@pytest.mark.parametrize(
    "html",
    [
        b"<div>" * 50_000,
        b"<div>" * 50_000 + b"</div>" * 50_000,
        b"<p><a><b>" * 20_000,
        b"<a " + b"x='1' " * 100_000 + b">t",
        b'<a b="c' * 30_000,
        b"<!--" * 50_000,
        b"<svg>" * 50_000,
        b"&" * 100_000 + b"&#" * 50_000 + b"&#x" * 50_000,
        b"&#1114112;&#99999999999999999999;" * 10_000,
        b"<" * 100_000,
        b"</" * 100_000,
        b"<math>" * 20_000 + b"<annotation encoding=tex>x" * 1000,
        b"<table><tr><td>" * 10_000 + b"x",
        b"<br>" * 100_000,
        b"<li>" * 50_000,
        b"\0" * 200_000,
        b"<pre>" + b"\t" * 200_000 + b"x",
        b'<img src="data:image/png;base64,' + b"A" * 500_000 + b'">after',
    ],
    ids=range(18),
)
def test_hostile_pages_are_read_in_time_that_grows_with_their_bytes(html: bytes) -> None:
    page = scan_page(html)
    assert len(page.state) == STATES
    for block in range(page.block_count()):
        assert page.block_text(block)


def test_a_page_of_too_many_blocks_is_refused() -> None:
    assert len(blocks("<p>a" * (MAX_BLOCKS - 2))) == MAX_BLOCKS - 2
    with pytest.raises(TooManyBlocks):
        scan_page(b"<p>a" * (MAX_BLOCKS + 1))


def test_any_cut_of_a_page_can_be_read() -> None:
    """Under NUMBA_BOUNDSCHECK=1 this finds reads past the end."""
    html = (
        '<!doctype html><html lang="en"><!-- c --><title>T</title><p class="a b" style="display:none">x&amp;'
        '&#x4e2d;中<math alttext="x"><annotation encoding="tex">y</annotation></math><br><pre>\n a</pre>'
        '<script type="math/tex">z</script><script type="application/ld+json">{}</script><a href=\'q\'>l</a>'
    ).encode()
    for cut in range(len(html)):
        scan_page(html[:cut])
        scan_page(html[cut:])


def test_mutated_pages_can_be_read() -> None:
    random_bytes = random.Random(1)
    pieces = [
        b"<",
        b">",
        b'"',
        b"'",
        b"/",
        b"=",
        b"&",
        b"&#",
        b";",
        b"<p",
        b"</p",
        b"<pre>",
        b"<a href=",
        b"<!--",
        b"-->",
    ]
    pieces += [
        b"<math>",
        b"<annotation encoding=tex>",
        b"</math>",
        b"<script type=math/tex>",
        b"</script>",
        b"<td>",
        b"<li>",
    ]
    pieces += [
        b" ",
        b"\n",
        b"text",
        "中".encode(),
        b"\xff",
        b"\0",
        b"<br>",
        b"<span class=katex-html>",
        b"</span>",
    ]
    for _ in range(300):
        page = scan_page(b"".join(random_bytes.choices(pieces, k=random_bytes.randrange(1, 200))))
        for block in range(page.block_count()):
            assert page.block_text(block).strip()


@pytest.mark.parametrize(
    ("style", "is_hidden"),
    [
        ("display:none", True),
        ("color: red; display: none;", True),
        ("DISPLAY:NONE", True),
        ("visibility: hidden", True),
        ("visibility:visible", False),
        ("display:block; margin:none", False),
        ("overflow:hidden", False),
        ("display:", False),
    ],
)
def test_hidden_elements_are_known(style: str, is_hidden: bool) -> None:
    page = scan_page(f'<div style="{style}"><p>text</div>'.encode())
    assert page.elements[page.blocks[0, ELEMENT], HIDDEN] == is_hidden
    assert scan_page(b"<div hidden><p>text").elements[2, HIDDEN] == 1
    assert scan_page(b"<body hidden><p>text").elements[2, HIDDEN] == 0


def test_mathml_that_mathjax_3_leaves_for_readers_of_screens_is_kept() -> None:
    page = (
        '<p>so <mjx-container class="MathJax" jax="CHTML"><mjx-math aria-hidden="true"><mjx-mi></mjx-mi>'
        "</mjx-math><mjx-assistive-mml><math><mi>x</mi><mo>=</mo><mn>1</mn></math></mjx-assistive-mml>"
        "</mjx-container> then"
    )
    assert blocks(page) == ["so x=1 then"]


@pytest.mark.parametrize(
    "text",
    ["中文测试", "中a文，测 试。", "か中カ鿿㐀中", "中\u3000文", "中 文<br>测", "&#20013;文é中😀文"],
)
def test_runs_of_ideographs_are_read_as_single_ones_are(text: str) -> None:
    single = "".join(f"&#{ord(c)};" if ord(c) > 127 else c for c in text)
    by_run, one_by_one = scan_page(f"<p>a{text}".encode()), scan_page(f"<p>a{single}".encode())
    assert by_run.block_text(0) == one_by_one.block_text(0)
    columns = slice(CHARACTERS, BLOCK_COLUMNS)
    assert by_run.blocks[0, columns].tolist() == one_by_one.blocks[0, columns].tolist()


def test_a_cut_ideograph_is_passed_over() -> None:
    assert blocks("中文".encode()[:-1]) == ["中"] and blocks(b"<p>a\xe4\xb8<p>b\xe4") == ["a", "b"]
