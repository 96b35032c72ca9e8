"""datatrove's rules on the same texts: `python peer_rules.py TEXTS.jsonl`

Runs in a Python of its own (datatrove[processing], spacy), started by rules.py --peer. One JSON string per
line in; out, as JSON: by filter, CPU milliseconds per text, and for each text whether it stays. The filters
are the peer's own classes with its defaults, each on the text as it came (C4's filter changes what it is
given).
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

from datatrove.data import Document  # pyright: ignore[reportMissingImports]
from datatrove.pipeline.filters import (  # pyright: ignore[reportMissingImports]
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

FILTERS = {
    "gopher_quality.datatrove": GopherQualityFilter,
    "gopher_repetition.datatrove": GopherRepetitionFilter,
    "c4.datatrove": C4QualityFilter,
    "fineweb.datatrove": FineWebQualityFilter,
}


def main(path: str) -> None:
    """Times every filter on every text."""
    texts = [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
    found: dict[str, object] = {"datatrove": version("datatrove")}
    for name, make in FILTERS.items():
        judge = make()
        # The first call loads what the filter needs, and that is no text's time.
        judge.filter(
            Document(text="A first call, of some words. And of one more sentence. " * 20, id="first")
        )
        documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
        start = time.process_time()
        answers = [judge.filter(document) for document in documents]
        spent = time.process_time() - start
        found[name] = {"ms": 1e3 * spent / len(texts), "kept": [answer is True for answer in answers]}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
