"""A run with our engine: the corpus that it makes, and what its manifest says of the models."""

import hashlib
from pathlib import Path

from pipeline.annotate.extract.engines import MAIN_TEXT, MAIN_TEXT_MODEL


def test_a_run_with_our_engine(run_small, tmp_path: Path) -> None:
    manifest = run_small(tmp_path / "out", "annotate.engine=main_text", "annotate.fallback_doubt=0.4")
    files = manifest["environment"]["files"]
    assert files[MAIN_TEXT] == hashlib.sha256(MAIN_TEXT_MODEL.read_bytes()).hexdigest()
    assert sum(shard["tokens"] for shard in manifest["tokens"]["train"]) > 20_000
