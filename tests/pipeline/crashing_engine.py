"""The sandbox task of tests/pipeline/test_nothing_lost.py: the real one, with an engine that obeys pages.

A page that holds `data-order="…"` does to its process what it says, most of which ends it. The children
of a run find this module because the test puts this folder on their PYTHONPATH.
"""

import os
import re
from collections.abc import Callable, Iterator

from pipeline.annotate import page
from pipeline.annotate.extract.engines import ENGINES

ORDER = re.compile(r'data-order="(\w+)"')


def open_task(settings: bytes) -> Callable[[Iterator[bytes]], bytes]:
    """As pipeline.annotate.page:open_task."""
    page.ENGINES = {name: obedient(extract) for name, extract in ENGINES.items()}
    return page.open_task(settings)


def obedient(extract: Callable[[str, str], tuple[str, str]]) -> Callable[[str, str], tuple[str, str]]:
    """The engine, but orders come first."""

    def extract_or_obey(html: str, url: str) -> tuple[str, str]:
        order = ORDER.search(html)
        match order.group(1) if order else "":
            case "raise":
                raise RuntimeError("told to")
            case "loop":
                while True:
                    pass
            case "abort":
                os.abort()
            case "memory":
                return str(len(bytearray(1 << 40))), ""
            case "exit":
                os._exit(0)
            case "interpreter":
                raise SystemExit("told to leave")
        return extract(html, url)

    return extract_or_obey
