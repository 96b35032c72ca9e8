"""datatrove's personal data on the same texts: `python peer_personal_data.py TEXTS.jsonl`

Runs in a Python of its own (datatrove), started by scores.py and scores_rest.py --peer. One JSON string per
line in; out, as JSON: CPU milliseconds per text, and how many of them were changed. Its formatter masks
e-mail and public IP addresses; ours telephones, residents' numbers and cards as well.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

from datatrove.pipeline.formatters import PIIFormatter  # pyright: ignore[reportMissingImports]


def main(path: str) -> None:
    """Times the formatter with its defaults, best of three passes."""
    texts = [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
    mask, passes, changed = PIIFormatter().format, [], 0
    for _ in range(3):
        start = time.process_time()
        changed = sum(mask(text) != text for text in texts)
        passes.append(time.process_time() - start)
    milliseconds = 1e3 * min(passes) / len(texts)
    print(json.dumps({"datatrove": version("datatrove"), "ms": milliseconds, "changed": changed}))


if __name__ == "__main__":
    main(sys.argv[1])
