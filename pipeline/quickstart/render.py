"""Turns the sources of a page into the HTML bytes that a server would have sent, clutter included.

The markup is a small part of Markdown: `## heading`, `- list`, `> quote`, `| table |`, fenced code, `code`,
*emphasis*, and `@name: text` for comments and forum posts. The rest of a page (navigation, adverts, banners,
related links) comes from templates/, in the words of chrome.toml, because a corpus of clean pages would leave
main-text extraction nothing to do.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from pipeline.quickstart.page import Page

TEMPLATES = Path(__file__).parent / "templates"
COMMENT = re.compile(r"@([^:：]+)[:：]\s*(.+)", re.DOTALL)


def split_blocks(body: str) -> list[str]:
    """The blocks of a body: separated by blank lines, fenced code kept whole."""
    blocks, fenced = [], False
    for piece in body.split("\n\n"):
        if fenced:
            blocks[-1] += "\n\n" + piece
        else:
            blocks.append(piece)
        fenced ^= piece.count("```") % 2 == 1
    return [block for block in blocks if block.strip()]


def to_inline(text: str) -> Markup:
    """Escaped text with `code` and *emphasis*."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"(?<!\w)\*([^*\n]+)\*(?!\w)", r"<em>\1</em>", marked))


def to_table(block: str) -> Markup:
    """An HTML table from `| a | b |` lines; the first line is the head."""
    rows = [[to_inline(cell.strip()) for cell in line.strip("|").split("|")] for line in block.splitlines()]
    head, *body = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    head = head.replace("td>", "th>")
    return Markup(f"<table>\n<tr>{head}</tr>\n" + "".join(f"<tr>{row}</tr>\n" for row in body) + "</table>")


def to_html(block: str) -> Markup:
    """One block as one HTML element."""
    if block.startswith("```"):
        return Markup(f"<pre><code>{escape(block.strip('`').strip())}\n</code></pre>")
    if block.startswith("## "):
        return Markup(f"<h2>{to_inline(block[3:])}</h2>")
    if block.startswith("- "):
        return Markup("<ul>\n{}</ul>").format(
            Markup("").join(
                Markup("<li>{}</li>\n").format(to_inline(line[2:])) for line in block.splitlines()
            )
        )
    if block.startswith("> "):
        return Markup(f"<blockquote><p>{to_inline(block[2:])}</p></blockquote>")
    if block.startswith("| "):
        return to_table(block)
    return Markup(f"<p>{to_inline(block)}</p>")


def main_blocks(page: Page) -> list[str]:
    """The blocks of a page that are not comments, in order."""
    return [block for block in split_blocks(page.body) if not block.startswith("@")] * page.repeat


def comments_of(page: Page) -> list[tuple[str, Markup]]:
    """(author, text) of the comments or forum posts of a page."""
    found = [COMMENT.fullmatch(block) for block in split_blocks(page.body) if block.startswith("@")]
    return [(match[1], to_inline(match[2])) for match in found if match] if page.comments else []


def render_page(page: Page, neighbours: list[Page]) -> bytes:
    """The body bytes; `neighbours` fill the lists of links; what the encoding lacks becomes a reference."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    chrome = tomllib.loads((TEMPLATES / "chrome.toml").read_text(encoding="utf-8"))[page.lang]
    html = environment.get_template(f"{page.template}.html").render(
        page=page,
        chrome=chrome,
        blocks=[to_html(block) for block in main_blocks(page)],
        comments=comments_of(page),
        neighbours=neighbours,
    )
    return html.encode(page.encoding, "xmlcharrefreplace")


def render_payload(page: Page, neighbours: list[Page]) -> bytes:
    """What the server sends after the HTTP headers, before transfer coding."""
    if page.payload == "hex":
        return bytes.fromhex(page.body)
    if page.payload == "ascii":
        return page.body.encode("ascii") + b"\n"
    return render_page(page, neighbours)
