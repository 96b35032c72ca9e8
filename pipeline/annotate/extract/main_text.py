"""The main text of a web page, without a tree: a pass over its bytes, then two small models that judge
blocks.

What was learned, from what: `main_text.json` beside this file. The labels are what trafilatura keeps, the
truth where there is one, and 160 pages judged block by block (training/hand_labels.py). Everything is decided
by counts and integers, never by the clock, so the same page gives the same text on every machine.

Measured by tests/benchmarks/extraction.py, by models that saw no page of the site: F1 .949 on 130 articles,
.914 and .814 on 114 Chinese and 115 English pages of documentation, .891 on 70 mixed European pages judged
block by block (trafilatura .923, .893, .845 and .818; resiliparse .939, .881, .844 and .800), in less time
than resiliparse. With trafilatura for pages of doubt above 0.2 (`annotate.fallback_doubt`; 1 to 7 % of pages)
.960, .916, .814 and .887 at 5 to 26 % of trafilatura's time. What is missing on the English pages are
listings in <figure>, which their Markdown includes from files and the others leave out: without code on both
sides all have .873 or .874. Compiling takes about 25 s of CPU time once per machine.

Good at news, blogs and documentation. Bad at: pages without an article (a shop's or a search's list of
results comes out in part or not at all), forums (the first post, then comments by chance), poems and verse
set as short lines in tables, text that scripts put into the page, and misnested tables, which the HTML
standard would move about. Comments below an article are left out.
"""

import hashlib
import html as html_module
import json
from functools import cache
from typing import NamedTuple

import numpy as np

from pipeline.annotate.charset import decode_page
from pipeline.annotate.extract.blocks import Cuts, block_lengths, find_blocks, is_kept, judge_blocks
from pipeline.annotate.extract.engines import MAIN_TEXT_MODEL
from pipeline.kernels.html_context import CONTEXT
from pipeline.kernels.html_features import FEATURES
from pipeline.kernels.html_scan import title_bytes
from pipeline.kernels.html_write import write_blocks
from pipeline.kernels.trees import STEP, Trees, load_arrays, trees_from

CARD = MAIN_TEXT_MODEL.with_suffix(".json")
_SHORT_TEXT = 150  # characters: a page that gives less may well hold more


class Models(NamedTuple):
    """The model of single blocks, the one that sees what it said of the neighbours, and what is then kept."""

    first: Trees
    second: Trees
    cuts: Cuts


class Extract(NamedTuple):
    """What a page says, and how sure that is."""

    text: str
    title: str
    doubt: float  # mean over characters of min(p, 1 - p): 0 to 0.5

    def is_unsure(self, doubt: float) -> bool:
        """Is this one for a slower engine: more doubt than `doubt`, or hardly any text?"""
        return self.doubt > doubt or len(self.text) < _SHORT_TEXT


def extract_main_text(html: bytes | str, url: str | None = None) -> str:
    """Main text of a page, "" if it has none. Bytes are decoded as a page without HTTP header would be.

    The URL is taken as other engines take one, and not used. html_scan.TooManyBlocks for a page with more
    than 32,768 pieces of text.
    """
    if isinstance(html, bytes):
        decoded = decode_page(html, header_charset="")
        if decoded is None:
            return ""
        html = decoded[0]
    return extract_page(html).text


def extract_page(html: str, models: Models | None = None) -> Extract:
    """Text and title of a page, by the packaged models or others."""
    content = html.encode("utf-8", "replace")
    blocks = find_blocks(content)
    models = models or load_models()
    judgement = judge_blocks(blocks, models.first, models.second)
    kept = is_kept(judgement.chances, block_lengths(blocks), models.cuts)
    text = write_blocks(blocks.page, kept) if len(kept) else ""
    title = html_module.unescape(title_bytes(content, blocks.page).decode("utf-8", "replace")).strip()
    return Extract(text, title, judgement.doubt / STEP)


@cache
def load_models() -> Models:
    """The packaged models; ValueError if the file is not the one that its card describes."""
    card = json.loads(CARD.read_text())
    if hashlib.sha256(MAIN_TEXT_MODEL.read_bytes()).hexdigest() != card["sha256"]:
        raise ValueError(
            f"{MAIN_TEXT_MODEL} is not the file that {CARD.name} describes: install the package again"
        )
    if card["features"] != [*CONTEXT, *FEATURES]:
        raise ValueError(
            f"{MAIN_TEXT_MODEL} was trained on other features: train it again (training/train.py)"
        )
    return models_from(load_arrays(MAIN_TEXT_MODEL), "")


def models_from(arrays: dict[str, np.ndarray], prefix: str) -> Models:
    """Both models out of the arrays whose names begin with `prefix`."""

    def trees(name: str) -> Trees:
        start = f"{prefix}{name}_"
        return trees_from(
            {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}
        )

    return Models(trees("first"), trees("second"), Cuts(*(int(cut) for cut in arrays[f"{prefix}cuts"])))
