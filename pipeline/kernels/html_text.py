"""How the scanner writes text: white space collapsed, references decoded, code kept, formulas as TeX."""

import numpy as np

from pipeline.kernels import html_characters as characters
from pipeline.kernels import html_lexer as lexer
from pipeline.kernels.html_page import (
    BLOCK_COLUMNS,
    BLOCK_START,
    BLOCKS,
    BREAK_RUN,
    BREAKS,
    CHARACTERS,
    CJK,
    COMMAS,
    COUNTING,
    COUNTS,
    COUNTS_AT,
    DEPTH,
    DIGITS,
    ELEMENT,
    INDENT,
    LINKED,
    MATH_DONE,
    OPEN,
    SHORT_WORDS,
    SKIP_DEPTH,
    SPACE,
    STACK,
    START,
    STOP,
    STOPS,
    TEXT,
    TOO_MANY,
    UPPER,
    WORD,
    WORDS,
)
from pipeline.kernels.html_tables import tag_number
from pipeline.kernels.jit import inner

_A, _PRE = map(tag_number, ("a", "pre"))
_NBSP, _IDEOGRAPHIC_SPACE, _ZERO_WIDTH, _MARK, _SOFT_HYPHEN = 0xA0, 0x3000, 0x200B, 0xFEFF, 0xAD
_MAX_INDENT = 200
_DOLLAR = np.int64(36)
_DISPLAY_STYLE = tuple(b"{\\displaystyle ")  # how Wikipedia's formulas begin


@inner
def read_text(html, at, tables, page):
    """Copy text up to the next markup into the current block; returns where the markup begins."""
    state = page.state
    if state[SKIP_DEPTH] or state[MATH_DONE]:
        return _pass_text(html, at)
    is_code = state[OPEN + _PRE] > 0
    is_link = state[OPEN + _A] > 0
    before = state[COUNTS_AT + CHARACTERS]
    while at < html.size:
        byte = html[at]
        if byte == lexer.LESS and lexer.starts_markup(html, at):
            break
        if 97 <= byte <= 122 and state[BLOCK_START] >= 0 and not state[SPACE]:
            at = _copy_letters(html, at, page)
            continue
        if lexer.is_space(byte):
            if is_code:
                _read_code_space(page, np.int64(byte))
            else:
                state[SPACE] = 1
            at += 1
            continue
        point = np.int64(byte)
        if byte == lexer.AMPERSAND:
            point, after = characters.read_reference(html, at, tables)
            if point < 0:
                point, after = np.int64(lexer.AMPERSAND), at + 1
        elif byte < 0x80:
            after = at + 1
        else:
            if 0xE4 <= byte <= 0xE9 and state[BLOCK_START] >= 0 and not state[SPACE]:
                after = _copy_ideographs(html, at, page)
                if after > at:
                    at = after
                    continue
            point, after = characters.read_code_point(html, at)
        at = after
        if (
            point == _NBSP
            or point == _IDEOGRAPHIC_SPACE
            or (point >= 9 and point <= 32 and lexer.is_space(point))
        ):
            if is_code:
                _read_code_space(page, lexer.NEWLINE if point == lexer.NEWLINE else lexer.SPACE_BYTE)
            else:
                state[SPACE] = 1
            continue
        if point < 32 or point == _ZERO_WIDTH or point == _MARK or point == _SOFT_HYPHEN:
            continue
        begin_word(page)
        state[TEXT] = characters.write_code_point(page.text, state[TEXT], point)
        state[WORD] += 1
        state[COUNTS_AT + CHARACTERS] += 1
        if point < 128:
            if 97 <= point <= 122:
                continue
            if point == 44 or point == 59:
                state[COUNTS_AT + COMMAS] += 1
            elif point == 46 or point == 33 or point == 63:
                state[COUNTS_AT + STOPS] += 1
            elif 65 <= point <= 90:
                state[COUNTS_AT + UPPER] += 1
            elif 48 <= point <= 57:
                state[COUNTS_AT + DIGITS] += 1
        elif point >= 0x3001:
            if point == 0xFF0C or point == 0x3001:
                state[COUNTS_AT + COMMAS] += 1
            elif point == 0x3002 or point == 0xFF01 or point == 0xFF1F:
                state[COUNTS_AT + STOPS] += 1
            elif 0x3040 <= point < 0xE000:
                state[COUNTS_AT + CJK] += 1
                state[WORD] = 0
    if is_link:
        state[COUNTS_AT + LINKED] += state[COUNTS_AT + CHARACTERS] - before
    return at


@inner
def _copy_letters(html, at, page):
    """Copy a run of a-z inside a word: most of most texts."""
    first, to = at, page.state[TEXT]
    while at < html.size and 97 <= html[at] <= 122:
        page.text[to] = html[at]
        to += 1
        at += 1
    page.state[TEXT] = to
    page.state[WORD] += at - first
    page.state[COUNTS_AT + CHARACTERS] += at - first
    page.state[BREAK_RUN] = 0
    return at


@inner
def _copy_ideographs(html, at, page):
    """Copy a run of characters from U+4000 to U+9FFF inside a block: most of Chinese and Japanese texts."""
    first, to = at, page.state[TEXT]
    while (
        at + 2 < html.size
        and 0xE4 <= html[at] <= 0xE9
        and 0x80 <= html[at + 1] < 0xC0
        and 0x80 <= html[at + 2] < 0xC0
    ):
        page.text[to] = html[at]
        page.text[to + 1] = html[at + 1]
        page.text[to + 2] = html[at + 2]
        to += 3
        at += 3
    page.state[TEXT] = to
    if at > first:
        page.state[COUNTS_AT + CHARACTERS] += (at - first) // 3
        page.state[COUNTS_AT + CJK] += (at - first) // 3
        page.state[WORD] = page.state[BREAK_RUN] = 0
    return at


@inner
def _pass_text(html, at):
    at = lexer.find_byte(html, at, lexer.LESS)
    while at < html.size and not lexer.starts_markup(html, at):
        at = lexer.find_byte(html, at + 1, lexer.LESS)
    return at


@inner
def _read_code_space(page, byte):
    """White space in <pre>: kept inside a block; before it, only the indentation of its first line counts."""
    state = page.state
    if byte == lexer.RETURN:
        return
    if state[BLOCK_START] >= 0:
        page.text[state[TEXT]] = byte
        state[TEXT] += 1
        state[WORD] = 0
    elif byte == lexer.NEWLINE:
        state[INDENT] = 0
    elif byte == lexer.TAB:
        state[INDENT] = max(min(state[INDENT], 0) - 1, -_MAX_INDENT)
    else:
        state[INDENT] = min(max(state[INDENT], 0) + 1, _MAX_INDENT)


@inner
def begin_word(page):
    """Before a visible character: begin a block if none is open, write the space that is due."""
    state = page.state
    if state[BLOCK_START] < 0:
        state[BLOCK_START] = state[TEXT]
        page.blocks[state[BLOCKS], ELEMENT] = state[STACK + state[DEPTH]]
        state[COUNTS_AT + WORDS] = 1
        state[WORD] = 0
        for _ in range(abs(state[INDENT])):
            page.text[state[TEXT]] = lexer.SPACE_BYTE if state[INDENT] > 0 else lexer.TAB
            state[TEXT] += 1
        state[INDENT] = 0
    elif state[SPACE] and page.text[state[TEXT] - 1] != lexer.NEWLINE:
        page.text[state[TEXT]] = lexer.SPACE_BYTE
        state[TEXT] += 1
        state[COUNTS_AT + WORDS] += 1
        if 0 < state[WORD] <= 3:
            state[COUNTS_AT + SHORT_WORDS] += 1
        state[WORD] = 0
    state[SPACE] = state[BREAK_RUN] = 0


@inner
def break_line(page):
    """<br>: one is a line end inside the block, two in a row end it (outside code)."""
    state = page.state
    if state[BLOCK_START] < 0:
        state[SPACE] = 0
        return
    state[BREAK_RUN] += 1
    state[COUNTS_AT + BREAKS] += 1
    if state[BREAK_RUN] >= 2 and not state[OPEN + _PRE]:
        end_block(page)
        return
    page.text[state[TEXT]] = lexer.NEWLINE
    state[TEXT] += 1
    state[SPACE] = state[WORD] = 0


@inner
def end_block(page):
    """End the block that is open, without the white space at its end."""
    state = page.state
    start, stop = state[BLOCK_START], state[TEXT]
    if start >= 0:
        while stop > start and lexer.is_space(page.text[stop - 1]):
            stop -= 1
        state[TEXT] = stop
        block = state[BLOCKS]
        if stop > start:
            page.blocks[block, START], page.blocks[block, STOP] = start, stop
            for column in range(CHARACTERS, BLOCK_COLUMNS):
                page.blocks[block, column] = state[COUNTS_AT + column]
            if block + 1 < page.blocks.shape[0]:
                state[BLOCKS] += 1
            else:
                state[TOO_MANY] = 1
    page.state[COUNTING : COUNTING + COUNTS] = 0
    state[BLOCK_START] = -1
    state[SPACE] = state[BREAK_RUN] = state[INDENT] = state[WORD] = 0


@inner
def write_formula(html, start, stop, tables, page, is_display):
    """TeX between dollar signs, one or two; white space collapsed. An empty one is left out."""
    while start < stop and lexer.is_space(html[start]):
        start += 1
    while stop > start and lexer.is_space(html[stop - 1]):
        stop -= 1
    if html[stop - 1] == 125 and _begins_with_display_style(html, start, stop):
        start, stop = start + len(_DISPLAY_STYLE), stop - 1
    if start >= stop or page.state[SKIP_DEPTH]:
        return
    state = page.state
    begin_word(page)
    for _ in range(2 if is_display else 1):
        state[TEXT] = characters.write_code_point(page.text, state[TEXT], _DOLLAR)
    while start < stop:
        byte = html[start]
        point = np.int64(byte)
        if byte == lexer.AMPERSAND:
            point, after = characters.read_reference(html, start, tables)
            if point < 0 or after > stop:
                point, after = np.int64(byte), start + 1
        elif byte < 0x80:
            after = start + 1
        else:
            point, after = characters.read_code_point(html, start)
        start = after
        if point >= 0 and lexer.is_space(point):
            state[SPACE] = 1
        elif point >= 32:
            begin_word(page)
            state[TEXT] = characters.write_code_point(page.text, state[TEXT], point)
            state[COUNTS_AT + CHARACTERS] += 1
    for _ in range(2 if is_display else 1):
        state[TEXT] = characters.write_code_point(page.text, state[TEXT], _DOLLAR)
    state[WORD] = 0


@inner
def _begins_with_display_style(html, start, stop):
    if stop - start <= len(_DISPLAY_STYLE):
        return False
    for at in range(len(_DISPLAY_STYLE)):  # noqa: SIM110 (kernels have no generators)
        if html[start + at] != _DISPLAY_STYLE[at]:
            return False
    return True
