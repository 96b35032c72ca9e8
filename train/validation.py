"""The loss on the validation shards as the pipeline made them: no near-duplicate of theirs is trained on."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokenizer_build.vocabulary import find_vocabulary, load_ranks
from train.config import ConfigError, Data, Parallel
from train.loop import LanguageModel, pack_documents, targets_of
from train.parallel import World, precision
from train.rows import DataError, TokenRows, find_unknown


def vocabulary_file(settings: Data, told: dict[str, Any]) -> Path | None:
    """The .tiktoken file of the shards' vocabulary, by `data.vocabulary` or by the name in the manifest.

    None if the manifest's name is no packaged one; ConfigError for a file of another vocabulary.
    """
    name = settings.vocabulary or Path(told["file"] or "none").stem
    try:
        path = find_vocabulary(name)
        load_ranks(path, sha256=told["sha256"])
    except FileNotFoundError as error:
        if settings.vocabulary:
            raise ConfigError(f"data.vocabulary: {error}") from None
        return None
    except ValueError as error:
        if settings.vocabulary:
            raise ConfigError(f"data.vocabulary: {error}") from None
        return None
    return path


def token_bytes(path: Path, n_vocab: int) -> np.ndarray:
    """int64 [n_vocab]: UTF-8 bytes that a token stands for; 0 for special tokens, which stand for no text."""
    _, ranks = load_ranks(path, sha256=None)
    lengths = np.zeros(n_vocab, np.int64)
    for token, rank in ranks.items():
        lengths[rank] = len(token)
    return lengths


def _batches(
    datasets: Sequence[TokenRows], rows: int, micro_rows: int, world: World
) -> Iterator[tuple[Tensor, Tensor, list[np.ndarray]]]:
    """Equally many batches on every rank, as sharded models need it; rows that fill up have length 0.

    DataError, naming the row, for an unknown token id.
    """
    places = [(number, row) for number, dataset in enumerate(datasets) for row in range(dataset.rows)][:rows]
    tokens = datasets[0].row_tokens
    share = micro_rows * world.size
    for start in range(0, len(places), share):
        own = places[start : start + share][world.rank :: world.size]
        ids = np.zeros((micro_rows, tokens), np.int32)
        lengths, starts = np.zeros(micro_rows, np.int64), [np.zeros(1, np.uint32)] * micro_rows
        for number, (dataset, row) in enumerate(own):
            one = np.array([row])
            ids[number], lengths[number] = datasets[dataset].read(one)[0], datasets[dataset].lengths(one)[0]
            starts[number] = datasets[dataset].row_starts(one)[0]
        unknown = find_unknown(ids, datasets[0].n_vocab)
        if unknown is not None:
            dataset, row = own[unknown]
            last, place = datasets[0].n_vocab - 1, datasets[dataset].name(row)
            raise DataError(f"{datasets[dataset].folder}: {place} has an id outside of 0..{last}")
        yield torch.from_numpy(ids).to(world.device), torch.from_numpy(lengths).to(world.device), starts


@torch.no_grad()
def validate(
    objective: LanguageModel,
    datasets: Sequence[TokenRows],
    byte_lengths: np.ndarray | None,
    world: World,
    *,
    rows: int,
    micro_rows: int,
    document_mask: bool,
    settings: Parallel,
    module: torch.nn.Module,
) -> dict[str, Any]:
    """{"validation_loss" in nats per token, "bits_per_byte", "validation_tokens"} over the first `rows` rows.

    Bits per byte counts targets that stand for text, <|endoftext|> not; None without a vocabulary file.
    """
    total = torch.zeros(4, dtype=torch.float64, device=world.device)  # nats, targets, nats of text, bytes
    sizes = None if byte_lengths is None else torch.from_numpy(byte_lengths).to(world.device)
    for ids, lengths, starts in _batches(datasets, rows, micro_rows, world):
        targets, documents = targets_of(ids, lengths), None
        if document_mask:
            documents = pack_documents(starts, ids.shape[1], pin=False).to(world.device)
        with precision(settings, module):
            log_probs = objective.log_probs(ids.long(), targets, documents)
        nats, valid = -log_probs.double(), targets >= 0
        total[0] += nats.sum()
        total[1] += valid.sum()
        if sizes is not None:
            size = sizes[targets.clamp_min(0)] * valid
            total[2] += (nats * (size > 0)).sum()
            total[3] += size.sum()
    nats, tokens, text, size = world.sum(total).tolist()
    bits = text / size / math.log(2) if size else None
    return {"validation_loss": nats / max(1, tokens), "bits_per_byte": bits, "validation_tokens": int(tokens)}
