"""Structure of the text that kept blocks become."""

import numpy as np
import pytest

from pipeline.kernels.html_scan import scan_page
from pipeline.kernels.html_write import write_blocks


def written(html: str, left_out: tuple[int, ...] = ()) -> str:
    page = scan_page(html.encode())
    keep = np.ones(page.block_count(), np.bool_)
    keep[list(left_out)] = False
    return write_blocks(page, keep)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<h1>Title</h1><p>one<p>two<br>lines", "Title\n\none\n\ntwo\nlines"),
        ("<p>Before<ul><li>a<li>b</ul><p>after", "Before\n\n- a\n- b\n\nafter"),
        ("<ol><li>a<li>b<ol><li>c<li>d</ol><li>e</ol>", "1. a\n2. b\n  1. c\n  2. d\n3. e"),
        ("<ul><li><p>first<p>more<li>next</ul>", "- first\n  more\n- next"),
        ("<ol>" + "<li>x" * 11 + "</ol>", "\n".join(f"{n}. x" for n in range(1, 12))),
        ("<p>t<table><tr><th>a<th>b<tr><td>1<td>2</table><p>u", "t\n\na | b\n1 | 2\n\nu"),
        ("<table><tr><td><p>layout</p><td><p>cells</p></table>", "layout\n\ncells"),
        ("<p>x<pre>def f():\n    return 1</pre><p>y", "x\n\ndef f():\n    return 1\n\ny"),
        ("<pre><div>a</div><div>  b</div></pre>", "a\n  b"),
        ("<table><tr><td>two<br>lines<td>b</table>", "two\nlines | b"),
    ],
)
def test_structure(html: str, expected: str) -> None:
    assert written(html) == expected


def test_what_is_left_out_leaves_no_mark() -> None:
    assert written("<p>a<p>b<ul><li>c<li>d</ul>", (1, 2)) == "a\n\n- d"
    assert written("<p>a", (0,)) == ""


def test_depth_of_lists_is_bounded() -> None:
    text = written("<ul><li>" * 300 + "x" * 10)
    assert text == " " * 14 + "- xxxxxxxxxx"


def test_numbers_of_long_lists_fit() -> None:
    text = written("<ol>" + "<li>x" * 20_000 + "</ol>")
    assert text.endswith("\n20000. x")
