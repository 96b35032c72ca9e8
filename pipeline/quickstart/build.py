"""Builds the packaged quickstart corpus from its sources: `python -m pipeline.quickstart.build`.

Run by developers after editing pages/ or templates/; its output, web/ and books/, is committed, and a test
holds that it is reproduced byte for byte. README.md lists every page that is odd on purpose. Takes a second.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from pipeline.quickstart.archive import build_warc
from pipeline.quickstart.page import Page, read_books, read_pages
from pipeline.quickstart.render import render_payload

HERE = Path(__file__).parent
LANGUAGES = ("en", "zh")
RELATED_LINKS = 4


def related(pages: list[Page], position: int) -> list[Page]:
    """The pages that one page links to: the next few of its file, or all of them for an index page."""
    linkable = [page for page in pages if page.template not in ("stub", "links") and page.status == 200]
    linkable = [page for page in linkable if page.record == "response" and not page.copy_of]
    if pages[position].template == "links":
        return linkable
    return [linkable[(position + step) % len(linkable)] for step in range(1, RELATED_LINKS + 1)]


def build_web(language: str) -> bytes:
    """The WARC file of one folder of pages/."""
    pages = read_pages(HERE / "pages" / language)
    payloads: dict[str, bytes] = {}
    visits = []
    for position, page in enumerate(pages):
        if page.record == "response":
            payloads[page.url] = render_payload(page, related(pages, position))
        visits.append((page, payloads[page.url]))  # a revisit repeats the digest of its first visit
    return build_warc(f"{language}-0.warc.gz", visits)


def build_books() -> bytes:
    """books.jsonl: one object {id, title, author, text} per line."""
    rows = [
        {
            "id": book.id,
            "title": book.title,
            "author": "Sluice contributors",
            "text": re.sub(r"(?<!\n)\n(?!\n)", " ", book.body),
        }
        for book in read_books(HERE / "pages" / "books")
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def build() -> dict[str, bytes]:
    """All generated files: path relative to this folder -> bytes."""
    files = {f"web/{language}-0.warc.gz": build_web(language) for language in LANGUAGES}
    return files | {"books/books.jsonl": build_books()}


def main() -> None:
    """Writes the generated files into the package."""
    for name, content in build().items():
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        print(f"{len(content):>8,} bytes  {name}")


if __name__ == "__main__":
    main()
