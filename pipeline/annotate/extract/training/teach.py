"""What the teachers make of every page:
`python -m pipeline.annotate.extract.training.teach DATA OUT.jsonl.gz`

A line per page: {"name", "texts": {teacher: main text}}. The teacher is trafilatura four ways: as it is,
fast, and leaning to precision and to recall, so that what it is unsure of gets a label between 0 and 1. Takes
7 minutes of CPU time for 2,000 pages.
"""

import argparse
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.annotate.extract.training.pages import read_pages

TEACHERS: dict[str, dict[str, Any]] = {
    "trafilatura": {},
    "trafilatura-fast": {"fast": True},
    "trafilatura-precision": {"favor_precision": True},
    "trafilatura-recall": {"favor_recall": True},
}


def teach(html: str) -> dict[str, str]:
    """The main text of a page by each teacher, "" where one has none or fails."""
    import trafilatura

    texts = {}
    for name, settings in TEACHERS.items():
        try:
            text = trafilatura.extract(html, include_comments=False, deduplicate=False, **settings)
        except Exception as error:  # one bad page must not stop an hour of work
            print(f"{name}: {type(error).__name__}: {error}")
            text = None
        texts[name] = text or ""
    return texts


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(arguments)
    with gzip.open(options.out, "wt", encoding="utf-8") as file:
        for page in read_pages(options.data):
            file.write(json.dumps({"name": page.name, "texts": teach(page.html)}) + "\n")


if __name__ == "__main__":
    main()
