"""The engines that take the main text out of an HTML page; a recipe names one.

main_text (ours and the default, see main_text.py): formulas, lists, tables and code kept, time that grows
with the page only.
resiliparse: about as fast, less exact. trafilatura: 15 to 25 times the time. The benchmark
tests/benchmarks/extraction.py compares them. All depend on the page only, not on what came before:
trafilatura's own deduplication, which remembers earlier pages, stays off.

Limits of the others: no formulas; tables come out as lines of cells. Building a tree takes them time that
grows with the square of the depth (10,000 open <div>: 3 s) and of the attributes of one tag (50,000: 19 s),
so pages of more than MAX_DEPTH or MAX_ATTRIBUTES are refused; of 4,137 real pages none had more than 62 and
88. Ours has no such limits.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

if TYPE_CHECKING:
    from pipeline.annotate.extract.main_text import Extract

MAIN_TEXT = "main_text"
MAIN_TEXT_MODEL = Path(__file__).with_name("main_text.npz")
NEVER = 0.5  # a doubt that no page exceeds
MAX_DEPTH, MAX_ATTRIBUTES = 512, 256  # of a tree, and of one tag in it


class PageRefused(ValueError):
    """A page that the engine will not read; its text is the reason, for the ledger."""


def check_shape(page: str) -> str:
    """Why no tree should be built of a page (too_deep, too_many_attributes), "" if one can be."""
    from pipeline.kernels.html_shape import measure_shape  # loads Numba

    depth, attributes = measure_shape(page.encode("utf-8", "replace"))
    if depth > MAX_DEPTH:
        return "too_deep"
    return "too_many_attributes" if attributes > MAX_ATTRIBUTES else ""


def _refuse_bad_shape(page: str) -> None:
    if reason := check_shape(page):
        raise PageRefused(reason)


def extract_with_resiliparse(page: str, url: str) -> tuple[str, str]:
    """(main text, title) of a page; "" where there is none. Does not use the URL. PageRefused."""
    _refuse_bad_shape(page)
    tree = HTMLTree.parse(page)
    text = extract_plain_text(
        tree,
        preserve_formatting=True,
        main_content=True,
        alt_texts=False,
        links=False,
        form_fields=False,
        noscript=False,
        comments=False,
    )
    return text, tree.title or ""


def extract_with_trafilatura(page: str, url: str) -> tuple[str, str]:
    """(main text, title) of a page; "" where there is none. PageRefused."""
    import trafilatura  # 0.3 s that a run with another engine need not pay

    _refuse_bad_shape(page)
    text = trafilatura.extract(
        page,
        url=url or None,
        include_comments=False,
        include_tables=True,
        deduplicate=False,
        with_metadata=False,
    )
    # Its own title costs more than the text, as part of all metadata; the <title> element is what is wanted.
    return text or "", HTMLTree.parse(page).title or ""


def extract_with_main_text(page: str, url: str) -> tuple[str, str]:
    """(main text, title) of a page; "" where there is none. Does not use the URL."""
    own = _read_page(page)
    return own.text, own.title


def main_text_or_trafilatura(doubt: float) -> Callable[[str, str], tuple[str, str]]:
    """Our engine, with trafilatura for pages that it has more doubt of than this (0 to 0.5)."""

    def extract(page: str, url: str) -> tuple[str, str]:
        own = _read_page(page)
        if not own.is_unsure(doubt) or check_shape(page):
            return own.text, own.title
        return extract_with_trafilatura(page, url)[0] or own.text, own.title

    return extract


def _read_page(page: str) -> "Extract":
    from pipeline.annotate.extract.main_text import extract_page  # loads Numba and the models
    from pipeline.kernels.html_scan import TooManyBlocks

    try:
        return extract_page(page)
    except TooManyBlocks as error:
        raise PageRefused("too_many_blocks") from error


ENGINES: dict[str, Callable[[str, str], tuple[str, str]]] = {
    MAIN_TEXT: extract_with_main_text,
    "resiliparse": extract_with_resiliparse,
    "trafilatura": extract_with_trafilatura,
}
