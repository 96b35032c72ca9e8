"""Small runs of the pipeline's output, written by its own writer: what the trainer reads in these tests."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.pack import shards
from tokenizer_build.vocabulary import Vocabulary

# These models are too small to share between threads, and the suite has a process per core already.
torch.set_num_threads(1)

N_VOCAB, EOT, ROW_TOKENS = 256, 255, 32
GOLDEN = Path(__file__).resolve().parents[2] / "../shared/golden"

WriteRun = Callable[..., Path]


def write_run(
    folder: Path,
    *,
    shard_tokens: tuple[int, ...] = (900, 700),
    row_tokens: int = ROW_TOKENS,
    seed: int = 0,
    sha256: str = "0" * 64,
) -> Path:
    """A finished run: train shards of so many tokens, one validation shard; text that a model can learn.

    A document counts upwards from a random id by a step of its own, so that what follows is predictable.
    """
    (folder / "tokens").mkdir(parents=True)
    random = np.random.default_rng(seed)
    vocabulary = Vocabulary("test", "test.tiktoken", sha256, N_VOCAB, EOT)
    told: dict[str, list[dict[str, object]]] = {"train": [], "validation": []}
    document = 0
    plan = [("train", n, tokens) for n, tokens in enumerate(shard_tokens)] + [("validation", 0, 150)]
    for split, number, tokens in plan:
        pieces, starts, locators = [], [0], []
        while starts[-1] < tokens:
            length = min(int(random.integers(5, 60)), tokens - starts[-1])
            start, step = random.integers(0, EOT, 2)
            pieces.append(np.append((start + step * np.arange(length - 1)) % EOT, EOT))
            starts.append(starts[-1] + length)
            locators.append(document)
            document += 1
        padding = -tokens % row_tokens
        stream = shards.Stream(
            np.concatenate([*pieces, np.full(padding, EOT)]).astype(np.int32),
            np.array(starts, np.int64),
            np.array(locators, np.uint64),
            np.zeros(len(locators), np.uint16),
        )
        path = folder / "tokens" / f"{split}-{number:05d}.arrow"
        summary = shards.write_shard(
            path, stream, row_tokens=row_tokens, vocabulary=vocabulary, shard_number=number
        )
        told[split].append(
            {
                "file": path.relative_to(folder).as_posix(),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "bytes": path.stat().st_size,
                "rows": summary.rows,
                "tokens": summary.tokens,
            }
        )
    entry = {"file": None, "sha256": vocabulary.sha256, "n_vocab": N_VOCAB, "eot": EOT}
    manifest = {"format": 1, "vocabulary": entry, "tokens": told, "ledger": [], "balanced": True}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session", name="write_run")
def write_run_fixture() -> WriteRun:
    return write_run


@pytest.fixture(scope="session")
def shards_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """51 train rows of 32 tokens in two shards, of which each ends with a padded row. Read only."""
    return write_run(tmp_path_factory.mktemp("run") / "out")


@pytest.fixture(scope="session")
def golden() -> Path:
    """The shards that stand beside the format's description."""
    if not GOLDEN.is_dir():
        pytest.skip("the golden shards of the format are not here (shared/golden)")
    return GOLDEN
