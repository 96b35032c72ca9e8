"""datatrove, stage by stage on the same pages: `python peer_datatrove.py PAGES.jsonl`

Runs in a Python of its own (datatrove[processing], spacy, lxml_html_clean), started by `pipeline.py --peer`.
Calls the peer's own classes page by page, in FineWeb's configuration: trafilatura, Gopher's repetition and
quality filters, and MinHash signatures of 14 x 8 hashes over word 5-grams. Extraction is called without the
peer's sandbox, which is to its advantage. Prints milliseconds per page by stage as JSON; filters and
signatures take only pages with text, but all are given per page read.
"""

import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from datatrove.data import Document  # pyright: ignore[reportMissingImports]
from datatrove.pipeline.dedup.minhash import (  # pyright: ignore[reportMissingImports]
    MinhashConfig,
    MinhashDedupSignature,
)
from datatrove.pipeline.extractors import Trafilatura  # pyright: ignore[reportMissingImports]
from datatrove.pipeline.filters import (  # pyright: ignore[reportMissingImports]
    GopherQualityFilter,
    GopherRepetitionFilter,
)


def main(path: str) -> None:
    """Times every stage on every page."""
    pages = [json.loads(line) for line in Path(path).read_text().splitlines()]
    spent: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        extractor = Trafilatura()
        filters = (GopherRepetitionFilter(), GopherQualityFilter())
        signer = MinhashDedupSignature(
            folder, config=MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
        )
        extractor.extract("<p>The first call is no page's.")
        warm = Document(
            text="The first call loads what it needs, and that is no page's time. " * 20, id="warm"
        )
        for judge in filters:
            judge.filter(warm)
        signer.get_signature(signer.get_shingles(warm.text))
        for page in pages:
            begun = time.perf_counter()
            text = extractor.extract(page)
            begun = spend(spent, "extract", begun)
            if not text:
                continue
            document = Document(text=text, id="page")
            for judge in filters:
                judge.filter(document)
            begun = spend(spent, "rules", begun)
            shingles = signer.get_shingles(text)
            if len(shingles):  # the peer, too, leaves out texts shorter than a shingle
                signer.get_signature(shingles)
            spend(spent, "sign", begun)
    print(json.dumps({stage: 1000 * seconds / len(pages) for stage, seconds in spent.items()}))


def spend(spent: dict[str, float], stage: str, begun: float) -> float:
    """Adds the time since `begun` to a stage and returns the present."""
    now = time.perf_counter()
    spent[stage] += now - begun
    return now


if __name__ == "__main__":
    main(sys.argv[1])
