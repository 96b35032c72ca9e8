"""The sources of the quickstart corpus: many pages to a file, each a TOML header and a body of light markup.

A file reads `+++`, header, `+++`, body, `+++`, header, and so on. The header's keys are the fields of `Page`
(or of `Book`); an unknown key is an error. A page with `copy_of` takes the body of another page of its folder
and applies `replace`, so that a near duplicate shows exactly what was changed and nothing is kept twice.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

FENCE = re.compile(r"^\+\+\+\n", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One crawled URL: what the server sends, and how it goes wrong."""

    url: str
    title: str
    date: str  # YYYY-MM-DD, printed on the page
    body: str = ""
    site: str = ""
    author: str = ""
    template: str = "stub"  # templates/<name>.html
    lang: str = ""  # default: the folder's language
    price: str = ""
    comments: bool = True  # False leaves the body's `@name: text` lines out
    repeat: int = 1  # how often the body stands on the page
    copy_of: str = ""  # url of the page whose body this one takes
    replace: tuple[tuple[str, str], ...] = ()  # edits on that body, each found exactly once
    encoding: str = "utf-8"  # of the bytes
    meta_charset: str = "utf-8"  # what the HTML claims
    header_charset: str = "utf-8"  # what the HTTP header claims; "" claims nothing
    status: int = 200
    location: str = ""
    mime: str = "text/html"
    payload: str = "page"  # page | hex | ascii: how the body becomes bytes
    transfer: str = ""  # "" | chunked | chunked-broken (declared, not done)
    record: str = "response"  # response | revisit
    cut: bool = False  # the file ends in the middle of this record


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """One book: id, title and paragraphs separated by blank lines."""

    id: str
    title: str
    body: str


def read_sections(path: Path) -> list[tuple[dict, str]]:
    """The (header, body) pairs of one source file, in order."""
    before, *pieces = FENCE.split(path.read_text(encoding="utf-8"))
    if before.strip() or len(pieces) % 2:
        raise ValueError(f"{path}: headers and bodies do not alternate")
    return [(tomllib.loads(head), body.strip()) for head, body in zip(pieces[::2], pieces[1::2], strict=True)]


def read_pages(folder: Path) -> list[Page]:
    """All pages of one language folder, files by name, with copies filled in; ValueError on a bad edit."""
    pages = []
    for path in sorted(folder.glob("*.md")):
        for header, body in read_sections(path):
            header["replace"] = tuple((old, new) for old, new in header.get("replace", ()))
            pages.append(Page(**{"lang": folder.name, **header, "body": body}))
    originals = {page.url: page for page in pages if not page.copy_of and page.record == "response"}
    filled = [replace(page, body=edited_body(page, originals)) if page.copy_of else page for page in pages]
    # Revisits follow their first visit, and a truncated record can only be the last of its file.
    return sorted(filled, key=lambda page: (page.cut, page.record == "revisit"))


def edited_body(page: Page, originals: dict[str, Page]) -> str:
    """The body of `page.copy_of` with every edit applied; each old text must occur exactly once."""
    body = originals[page.copy_of].body
    for old, new in page.replace:
        if body.count(old) != 1:
            raise ValueError(f"{page.url}: {old!r} occurs {body.count(old)} times, not once")
        body = body.replace(old, new)
    return body


def read_books(folder: Path) -> list[Book]:
    """All books of the folder, files by name."""
    return [
        Book(**header, body=body)
        for path in sorted(folder.glob("*.md"))
        for header, body in read_sections(path)
    ]
