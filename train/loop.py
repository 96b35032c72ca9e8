"""One update, for any objective: micro-batches, one exchange of gradients, one step of the optimizer.

    for batch in prefetch(step_batches(...)):
        loss, norm, skipped = update(...)

The loss is a sum over targets divided by the number of valid targets in the whole step, of all ranks and
micro-batches, so that neither accumulation nor uneven masks change what a token weighs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model.context import PackedDocuments
from model.transformer import Transformer
from train import config
from train.data import Stream
from train.loss import IGNORE, linear_cross_entropy, token_log_probs
from train.optimizer import SpikeGuard, apply_update
from train.parallel import World, accumulating, precision


class LanguageModel(nn.Module):
    """The pretraining objective around a model; the head's weight goes to the loss, logits never exist."""

    def __init__(self, model: Transformer, settings: config.Loss) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(
        self, ids: Tensor, targets: Tensor, documents: PackedDocuments | None, scale: float
    ) -> Tensor:
        """scale * summed loss of ids and targets, both int64 [B, T], with their documents' starts; fp32."""
        hidden = self.model.hidden(ids, documents=documents).flatten(0, 1)
        return linear_cross_entropy(
            hidden,
            self.model.head.weight,
            targets.flatten(),
            scale=scale,
            z_loss=self.settings.z_loss,
            chunk=self.settings.chunk_tokens,
        )

    def log_probs(self, ids: Tensor, targets: Tensor, documents: PackedDocuments | None) -> Tensor:
        """log p(target) in fp32 [B, T], 0 where there is none."""
        hidden = self.model.hidden(ids, documents=documents).flatten(0, 1)
        chunk = self.settings.chunk_tokens
        return token_log_probs(hidden, self.model.head.weight, targets.flatten(), chunk=chunk).view_as(
            targets
        )


@dataclass(frozen=True)
class StepBatch:
    """What one rank computes in one update: its rows, micro-batch after micro-batch."""

    ids: Tensor  # int32 [A * B, T]
    lengths: Tensor  # int64 [A * B]
    documents: tuple[PackedDocuments, ...] | None  # of each micro-batch, if masks are by document
    valid: int  # targets in the whole step, over all ranks


def rank_samples(drawn: int, rows: int, micro_rows: int, world: World) -> np.ndarray:
    """int64 [rows / W]: the draws of one rank in a step of `rows`, in the order of its micro-batches."""
    step = np.arange(drawn, drawn + rows).reshape(-1, world.size, micro_rows)
    return step[:, world.rank].reshape(-1)


def step_batches(stream: Stream, drawn: int, rows: int, micro_rows: int, world: World) -> Iterator[StepBatch]:
    """This rank's rows of every step from `drawn` on, without end; in pinned memory for a GPU."""
    pin = world.device.type == "cuda"
    while True:
        samples = rank_samples(drawn, rows, micro_rows, world)
        batch = stream.read(samples)
        stream.check(samples, batch.ids)
        lengths = stream.lengths(np.arange(drawn, drawn + rows))
        valid = int(np.maximum(lengths - 1, 0).sum())
        ids, own, documents = torch.from_numpy(batch.ids), torch.from_numpy(batch.lengths), None
        if batch.row_starts is not None:
            parts = range(0, len(ids), micro_rows)
            starts = [batch.row_starts[start : start + micro_rows] for start in parts]
            documents = tuple(pack_documents(rows, stream.row_tokens, pin=pin) for rows in starts)
        if pin:
            ids, own = ids.pin_memory(), own.pin_memory()
        yield StepBatch(ids, own, documents, valid)
        drawn += rows


def pack_documents(row_starts: Sequence[np.ndarray], row_tokens: int, *, pin: bool) -> PackedDocuments:
    """Boundaries of some rows' documents, in few sizes (powers of two), as every size is compiled anew."""
    documents = sum(map(len, row_starts))
    size = max(16 * len(row_starts), 1 << documents.bit_length())
    packed = PackedDocuments.from_row_starts([starts.tolist() for starts in row_starts], row_tokens, size)
    return PackedDocuments(packed.cu_seqlens.pin_memory(), packed.longest) if pin else packed


def targets_of(ids: Tensor, lengths: Tensor) -> Tensor:
    """int64 [B, T]: the next token of each, -100 at a row's end and in its padding."""
    targets = ids.roll(-1, dims=1).long()
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    return targets.masked_fill(places >= lengths[:, None], IGNORE)


def language_losses(
    module: nn.Module, batch: StepBatch, micro_rows: int, settings: config.Parallel, world: World
) -> Sequence[Callable[[], Tensor]]:
    """What `update` takes: one call per micro-batch, each returning its part of the mean loss of the step."""
    ids = batch.ids.to(world.device, non_blocking=True)
    lengths = batch.lengths.to(world.device, non_blocking=True)
    # Ranks average their gradients; what is wanted is the sum.
    scale = world.size / max(1, batch.valid)

    def loss(start: int) -> Tensor:
        rows = slice(start, start + micro_rows)
        documents = None if batch.documents is None else batch.documents[start // micro_rows].to(world.device)
        with precision(settings, module):
            return module(ids[rows].long(), targets_of(ids[rows], lengths[rows]), documents, scale)

    return [lambda start=start: loss(start) for start in range(0, len(ids), micro_rows)]


def update(
    module: nn.Module,
    optimizer: torch.optim.AdamW,
    guard: SpikeGuard,
    losses: Sequence[Callable[[], Tensor]],
    world: World,
    *,
    rate: float,
    clip: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """One update from the losses of this rank's micro-batches; (mean loss, gradient norm, 1.0 if skipped).

    All three stay on the device. Every loss must be scaled so that the mean over ranks of their sums is the
    loss of the step.
    """
    total = torch.zeros((), device=world.device)
    for number, loss in enumerate(losses):
        with accumulating(module, last=number == len(losses) - 1):
            value = loss()
            value.backward()
        total += value.detach()
    total = world.sum(total) / world.size
    norm, skipped = apply_update(optimizer, guard, total, rate=rate, clip=clip)
    return total, norm, skipped
