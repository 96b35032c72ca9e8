"""datatrove's MinhashDedupSignature on the same texts: `python peer_minhash.py TEXTS.json en|zh`

Runs in a Python of its own, started by `dedup.py --peer`: the peer's own class, text by text, in FineWeb's
configuration (14 x 8 hashes over word 5-grams; FineWeb2's Chinese word segmenter for zh, if it is installed).
Prints seconds as JSON.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from datatrove.pipeline.dedup.minhash import (  # pyright: ignore[reportMissingImports]
    MinhashConfig,
    MinhashDedupSignature,
)


def main(path: str, language: str) -> None:
    """Times signatures with shingling of all texts."""
    texts = json.loads(Path(path).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
        try:
            signer = MinhashDedupSignature(folder, config=config, language=language)
            signer.get_shingles("The first call loads what it needs. " * 20)
        except Exception:  # its segmenter for this language is not installed
            print(json.dumps(None))
            return
        begun = time.process_time()
        for text in texts:
            shingles = signer.get_shingles(text)
            if len(shingles):
                signer.get_signature(shingles)
        print(json.dumps(time.process_time() - begun))


if __name__ == "__main__":
    main(*sys.argv[1:])
