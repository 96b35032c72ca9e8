"""Which blocks of a page are main text, judged one by one by reading them.

`python -m pipeline.annotate.extract.training.hand_labels DATA show NAME ...` prints the blocks of pages,
numbered; `... DATA record JUDGEMENTS.jsonl` writes `hand_labels.jsonl` beside this file from lines of
{"name", "drawn", "keep": "3-12,15", "unclear": "1"}; what is in neither is surroundings. `drawn` is "random"
for pages drawn by their digest, by which an engine may be judged, and "doubtful" for pages chosen because
model and teacher disagree about them: these would be unfair to both.

The readers were language models that followed the rules below, in one pass, and saw the blocks only, no
extractor's output; where they doubted, the block is unclear. Main text: headline, paragraphs, headings,
lists, tables, captions, quotations and code of an article, entry, recipe, post or notice; what describes a
product. Surroundings: navigation, teasers, shares, notices, advertisement, comments below an article,
footers. Unclear, and counted neither way: boxes on the author, credits, key facts, tiles of a list.

No text is kept: a block is known by three bytes of the digest of its text and of how often that text stood
above it on the page. A block that another scanner would cut otherwise is then unclear, not wrong.
"""

import argparse
import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.annotate.extract.blocks import find_blocks
from pipeline.annotate.extract.training.labels import squeeze
from pipeline.annotate.extract.training.pages import read_pages

FILE = Path(__file__).with_name("hand_labels.jsonl")
_DIGEST = 3  # bytes: two of a page's few hundred blocks agree by chance once in some hundred pages


class HandLabels(NamedTuple):
    """What was judged of one page."""

    drawn: str  # "random" or "doubtful"
    kept: frozenset[bytes]
    dropped: frozenset[bytes]


def read_hand_labels(path: Path = FILE) -> dict[str, HandLabels]:
    """Judgements by the name of the page."""
    labels = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        labels[entry["name"]] = HandLabels(entry["drawn"], _cut(entry["kept"]), _cut(entry["dropped"]))
    return labels


def label_by_hand(texts: Sequence[str], labels: HandLabels) -> NDArray[np.float32]:
    """Labels [blocks] of a page's block texts: 1 main text, 0 surroundings, NaN unclear."""
    return np.array(
        [
            1.0 if digest in labels.kept else 0.0 if digest in labels.dropped else np.nan
            for digest in _block_digests(texts)
        ],
        np.float32,
    )


def record(pages: dict[str, list[str]], judgements: Sequence[dict[str, str]], out: Path) -> None:
    """Write what was judged of pages, given as block texts by name. ValueError for a bad number."""
    lines = []
    for judged in judgements:
        digests = _block_digests(pages[judged["name"]])
        keep, unclear = (_numbers(judged[key], len(digests)) for key in ("keep", "unclear"))
        dropped = set(range(len(digests))) - keep - unclear
        lines.append(
            {"name": judged["name"], "drawn": judged["drawn"]}
            | {
                key: base64.b64encode(b"".join(digests[at] for at in sorted(numbers))).decode()
                for key, numbers in (("kept", keep), ("dropped", dropped))
            }
        )
    lines.sort(key=lambda entry: entry["name"])
    out.write_text("".join(json.dumps(entry) + "\n" for entry in lines))


def _block_digests(texts: Sequence[str]) -> list[bytes]:
    above: Counter[str] = Counter()
    digests = []
    for text in map(squeeze, texts):
        digests.append(hashlib.blake2b(f"{above[text]} {text}".encode(), digest_size=_DIGEST).digest())
        above[text] += 1
    return digests


def _cut(encoded: str) -> frozenset[bytes]:
    digests = base64.b64decode(encoded)
    return frozenset(digests[at : at + _DIGEST] for at in range(0, len(digests), _DIGEST))


def _numbers(ranges: str, blocks: int) -> set[int]:
    found: set[int] = set()
    for part in filter(None, ranges.replace(" ", "").split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    if found and max(found) >= blocks:
        raise ValueError(f"block {max(found)} of a page with {blocks}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Show pages or record what was judged of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show").add_argument("names", nargs="+")
    commands.add_parser("record").add_argument("judgements", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "record":
        judgements = [json.loads(line) for line in options.judgements.read_text().splitlines()]
        names = {judged["name"] for judged in judgements}
    else:
        judgements, names = [], set(options.names)
    pages = {}
    for page in read_pages(options.data):
        if page.name in names:
            pages[page.name] = find_blocks(page.html.encode("utf-8", "replace")).page.block_texts()
    if missing := names - pages.keys():
        parser.error(f"no such page: {sorted(missing)[0]}")
    if options.command == "record":
        record(pages, judgements, FILE)
        print(f"{len(judgements)} pages in {FILE}")
        return
    for name in options.names:
        print(f"===== {name}")
        for block, text in enumerate(pages[name]):
            print(f"{block}|" + "".join(char if char.isprintable() else " " for char in text))


if __name__ == "__main__":
    main()
