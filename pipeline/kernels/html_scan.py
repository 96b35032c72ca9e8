"""One pass over the bytes of a page: its elements, its text blocks, what can be counted on the way. No tree.

An element stack with the implied ends of HTML (a block ends <p>; <li>, <td>, <tr>, <dd>, <option> end their
like) stands in for the parser of the standard; misnested formatting and tables are not moved about as there.
Script, style, templates and comments are passed over. Formulas stay LaTeX: MathJax's <script
type="math/tex">, MathML's TeX annotation and alttext come out between dollar signs, and what KaTeX and
MathJax 2 draw from them is passed over; of MathJax 3, which keeps no TeX, the text of its MathML is left.

Costs 0.2 to 0.5 ms for 170 kB. Linear in the page: the stack has at most MAX_DEPTH places, what is not closed
is searched for once, and a page of more than MAX_BLOCKS blocks is given up (state[TOO_MANY]).
"""

import numpy as np

from pipeline.kernels import html_lexer as lexer
from pipeline.kernels.buffers import read_only
from pipeline.kernels.html_page import (
    BLOCK_START,
    CLASS,
    COUNTING,
    COUNTS,
    COUNTS_AT,
    CUES,
    DEPTH,
    ELEMENTS,
    HIDDEN,
    ITEMS,
    LANG_START,
    LANG_STOP,
    LEVEL,
    LINKS,
    MATH_DEPTH,
    MATH_DONE,
    MATH_SPACE,
    MATH_TEXT,
    MAX_BLOCKS,
    MAX_DEPTH,
    MAX_METAS,
    MAX_SCRIPTS,
    META_PLACES,
    METAS,
    MISSING,
    OPEN,
    ORDINAL,
    OVERFLOW,
    PARENT,
    SCRIPT_PLACES,
    SCRIPTS,
    SKIP_DEPTH,
    SPACE,
    STACK,
    TAG,
    TEXT,
    TITLE_START,
    TITLE_STOP,
    TOO_MANY,
    Page,
    empty_page,
)
from pipeline.kernels.html_tables import (
    IS_BLOCK,
    IS_RAW,
    IS_RAW_TO_END,
    IS_VOID,
    RENDERING_CUE,
    load_html_tables,
    tag_number,
)
from pipeline.kernels.html_text import break_line, end_block, read_text, write_formula
from pipeline.kernels.jit import inner, kernel

_A, _P, _LI, _UL, _OL, _DD, _DT, _DL = map(tag_number, ["a", "p", "li", "ul", "ol", "dd", "dt", "dl"])
_TR, _TD, _TH, _TABLE, _BODY = map(tag_number, ["tr", "td", "th", "table", "body"])
_OPTION, _SELECT = map(tag_number, ["option", "select"])
_BR, _PRE, _SPAN, _HTML, _TITLE, _META = map(tag_number, ["br", "pre", "span", "html", "title", "meta"])
_SCRIPT, _MATH, _ANNOTATION = map(tag_number, ("script", "math", "annotation"))
# Parts of types: math/tex; mode=display, application/x-tex, application/ld+json.
_TEX, _MATH_TYPE, _DISPLAY, _JSON_LD = map(lexer.three_letters, (b"tex", b"mat", b"pla", b"ld+"))
_IN_LINE, _NO_TAG = np.bool_(False), np.int64(0)
_RENDERING = np.uint64(1 << RENDERING_CUE)


class TooManyBlocks(ValueError):
    """The page has more than MAX_BLOCKS text blocks."""


def scan_page(html: bytes) -> Page:
    """Elements and blocks of a page in UTF-8 (a byte that is none is passed over); TooManyBlocks."""
    page = empty_page(len(html), html.count(b"<"))
    _scan(read_only(np.frombuffer(html, np.uint8)), load_html_tables(), page)
    if page.state[TOO_MANY]:
        raise TooManyBlocks(f"more than {MAX_BLOCKS} text blocks")
    return page


def title_bytes(html: bytes, page: Page) -> bytes:
    """What stands in the first <title>, its references not decoded."""
    return html[page.state[TITLE_START] : page.state[TITLE_STOP]]


@kernel
def _scan(html, tables, page):
    at, size = np.int64(0), html.size
    while at < size and not page.state[TOO_MANY]:
        if html[at] == lexer.LESS and lexer.starts_markup(html, at):
            at = _read_markup(html, at, tables, page)
        else:
            at = read_text(html, at, tables, page)
    end_block(page)


@inner
def _read_markup(html, at, tables, page):
    """Read the tag, comment or declaration at `at`; returns where the page goes on."""
    is_end = html[at + 1] == lexer.SLASH
    name_at = at + 2 if is_end else at + 1
    if not lexer.is_letter(html[name_at]):
        return lexer.skip_comment(html, at)
    name, name_end = lexer.read_name(html, name_at)
    tag = lexer.tag_of(name, tables)
    after, closes_itself, is_hidden, cues, class_hash, start, stop = lexer.read_attributes(
        html, name_end, tables, page.state, tag
    )
    if tag == _BR:
        break_line(page)
        return after
    if tables.kinds[tag, IS_BLOCK]:
        end_block(page)
        page.state[SPACE] = 0
    if is_end:
        _close(page, tables, tag)
        return after
    if tables.kinds[tag, IS_RAW] and not closes_itself:
        return _pass_raw(html, at, after, name, name_end - name_at, tables, page, tag, start, stop)
    if tag == _ANNOTATION and page.state[MATH_DEPTH] and lexer.contains(html, start, stop, _TEX):
        end = lexer.find_byte(html, after, lexer.LESS)
        _write_math(html, after, end, tables, page)
        return end
    if tag == _META and page.state[METAS] < MAX_METAS:
        place = META_PLACES + 2 * page.state[METAS]
        page.state[place], page.state[place + 1] = at, min(after, html.size)
        page.state[METAS] += 1
    if tables.kinds[tag, IS_VOID] or (closes_itself and not tables.kinds[tag, IS_BLOCK] and tag != _A):
        return after
    if tag == _HTML and page.state[LANG_STOP] == 0:
        page.state[LANG_START], page.state[LANG_STOP] = start, stop
    _close_implied(page, tables, tag)
    _open(page, tag, is_hidden, cues, class_hash)
    if tag == _MATH and not page.state[MATH_DEPTH]:
        page.state[MATH_DEPTH], page.state[MATH_DONE] = page.state[DEPTH], 0
        page.state[MATH_SPACE] = page.state[SPACE]
        page.state[MATH_TEXT] = page.state[TEXT] if page.state[BLOCK_START] >= 0 else -1
        if stop > start:
            _write_math(html, start, stop, tables, page)
    return after


@inner
def _write_math(html, start, stop, tables, page):
    """A formula in TeX instead of what its <math> has given so far and would still give."""
    state = page.state
    if state[MATH_DONE] or not state[MATH_DEPTH]:
        return
    if state[BLOCK_START] >= 0:
        state[TEXT] = state[MATH_TEXT] if state[MATH_TEXT] >= 0 else state[BLOCK_START]
        if state[TEXT] == state[BLOCK_START]:
            state[BLOCK_START] = -1
            page.state[COUNTING : COUNTING + COUNTS] = 0
    state[SPACE] = state[MATH_SPACE]
    write_formula(html, start, stop, tables, page, _IN_LINE)
    state[MATH_DONE] = 1


@inner
def _pass_raw(html, at, after, name, length, tables, page, tag, start, stop):
    """Past the end tag of an element without text; keeps title, formulas and where JSON-LD stands."""
    state = page.state
    end = html.size
    if not page.state[MISSING + tag]:
        end = lexer.find_raw_end(html, after, name, length)
    if end == html.size:
        page.state[MISSING + tag] = True
        if not tables.kinds[tag, IS_RAW_TO_END]:
            return after
    if tag == _TITLE and state[TITLE_STOP] == 0:
        state[TITLE_START], state[TITLE_STOP] = after, end
    elif tag == _SCRIPT and stop > start:
        if lexer.contains(html, start, stop, _TEX) and lexer.contains(html, start, stop, _MATH_TYPE):
            is_display = lexer.contains(html, start, stop, _DISPLAY)
            write_formula(html, after, end, tables, page, is_display)
        elif lexer.contains(html, start, stop, _JSON_LD) and state[SCRIPTS] < MAX_SCRIPTS:
            place = SCRIPT_PLACES + 2 * state[SCRIPTS]
            state[place], state[place + 1] = after, end
            state[SCRIPTS] += 1
    return lexer.find_byte(html, end, lexer.GREATER) + 1


@inner
def _open(page, tag, is_hidden, cues, class_hash):
    state = page.state
    element = state[ELEMENTS]
    if state[DEPTH] + 1 >= MAX_DEPTH or element >= page.elements.shape[0]:
        state[OVERFLOW] += 1
        return
    parent = page.state[STACK + state[DEPTH]]
    page.elements[element, TAG] = tag
    page.elements[element, PARENT] = parent
    page.elements[element, LEVEL] = state[DEPTH] + 1
    page.elements[element, HIDDEN] = is_hidden or page.elements[parent, HIDDEN]
    page.masks[element, CUES] = cues
    page.masks[element, CLASS] = class_hash
    page.elements[element, ITEMS] = page.elements[element, ORDINAL] = 0
    if tag == _LI:
        page.elements[parent, ITEMS] += 1
        page.elements[element, ORDINAL] = page.elements[parent, ITEMS]
    state[ELEMENTS] += 1
    state[DEPTH] += 1
    page.state[STACK + state[DEPTH]] = element
    page.state[OPEN + tag] += 1
    if tag == _A:
        page.state[COUNTS_AT + LINKS] += 1
    is_drawn = cues & _RENDERING and (tag == _SPAN or tag == _TD or tag == _PRE)
    if is_drawn and not state[SKIP_DEPTH]:
        state[SKIP_DEPTH] = state[DEPTH]


@inner
def _close(page, tables, tag):
    """An end tag: pop its element and those inside it; without effect where no such element is in reach."""
    state = page.state
    if state[OVERFLOW] > 0:
        state[OVERFLOW] -= 1
        return
    if page.state[OPEN + tag] == 0:
        return
    is_block = tables.kinds[tag, IS_BLOCK]
    is_outer = tag == _TABLE or tag == _TR or tag == _BODY or tag == _TD or tag == _TH
    place = state[DEPTH]
    while place > 0:
        other = page.elements[page.state[STACK + place], TAG]
        if other == tag:
            _pop_to(page, place)
            return
        if (not is_block and tables.kinds[other, IS_BLOCK]) or (
            (other == _TD or other == _TH) and not is_outer
        ):
            return
        place -= 1


@inner
def _pop_to(page, place):
    """Take the stack down until `place` is free."""
    state = page.state
    while state[DEPTH] >= place:
        page.state[OPEN + page.elements[page.state[STACK + state[DEPTH]], TAG]] -= 1
        state[DEPTH] -= 1
    if state[DEPTH] < state[SKIP_DEPTH]:
        state[SKIP_DEPTH] = 0
    if state[DEPTH] < state[MATH_DEPTH]:
        state[MATH_DEPTH] = state[MATH_DONE] = 0


@inner
def _close_implied(page, tables, tag):
    """The ends that a start tag implies (13.1.2.4 of the standard)."""
    if tables.kinds[tag, IS_BLOCK] and page.state[OPEN + _P]:
        place = page.state[DEPTH]
        while place > 0 and not tables.kinds[page.elements[page.state[STACK + place], TAG], IS_BLOCK]:
            place -= 1
        if page.elements[page.state[STACK + place], TAG] == _P:
            _pop_to(page, place)
    if tag == _LI:
        _close_like(page, _LI, _LI, _UL, _OL)
    elif tag == _DD or tag == _DT:
        _close_like(page, _DD, _DT, _DL, _DL)
    elif tag == _TR:
        _close_like(page, _TR, _TR, _TABLE, _TABLE)
    elif tag == _TD or tag == _TH:
        _close_like(page, _TD, _TH, _TABLE, _TR)
    elif tag == _OPTION:
        _close_like(page, _OPTION, _OPTION, _SELECT, _SELECT)
    elif tag == _A and page.state[OPEN + _A]:
        _close_like(page, _A, _A, _NO_TAG, _NO_TAG)


@inner
def _close_like(page, first, second, wall, other_wall):
    """Pop the nearest element of two kinds, unless a wall stands before it (tag 0: no wall)."""
    if not page.state[OPEN + first] and not page.state[OPEN + second]:
        return
    place = page.state[DEPTH]
    while place > 0:
        tag = page.elements[page.state[STACK + place], TAG]
        if tag == first or tag == second:
            _pop_to(page, place)
            return
        if wall and (tag == wall or tag == other_wall):
            return
        place -= 1
