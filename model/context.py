"""What the layers of one pass share: rotation tables, masks, and the extension of long contexts.

Computed once, outside of the blocks. A `Context` is a plain object, neither tuple nor dataclass, since FSDP's
mixed precision casts every float tensor that it finds in those among the arguments of a block, and positions
in bf16 are wrong from the 256th on. Layers that need the same get the same object.

B rows, T query tokens, S key tokens, d dimensions per head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from model.cache import KVCache
from model.config import ModelConfig
from model.rope import logn_scale, ntk_alpha, ntk_base, rotary_tables


@dataclass(frozen=True)
class PackedDocuments:
    """Where documents begin in B rows of T tokens laid end to end, for kernels that take boundaries.

    `cu_seqlens`: int32 [n + 1], first 0, last B * T, never falling; every row begins a document. A fixed n,
    reached by repeating B * T, spares recompilation. `longest`: no document is longer; T always holds.
    """

    cu_seqlens: Tensor
    longest: int

    @staticmethod
    def from_row_starts(row_starts: Sequence[Sequence[int]], row_tokens: int, size: int) -> "PackedDocuments":
        """From each row's `row_start` values in the shard; `size` entries, ValueError if there are more.

        A row whose first piece does not start at 0 is refused: its first tokens would belong to no document.
        """
        for starts in row_starts:
            rising = all(left < right for left, right in pairwise(starts))
            if not len(starts) or starts[0] != 0 or starts[-1] >= row_tokens or not rising:
                raise ValueError(f"row_start {list(starts)}: must begin with 0 and rise below {row_tokens}")
        ends = [row_tokens * row + int(start) for row, starts in enumerate(row_starts) for start in starts]
        if len(ends) >= size:
            raise ValueError(f"{len(ends)} documents in a batch that provides for {size - 1}")
        ends += [row_tokens * len(row_starts)] * (size - len(ends))
        return PackedDocuments(torch.tensor(ends, dtype=torch.int32), row_tokens)

    def to(self, device: torch.device) -> "PackedDocuments":
        """The same on a device; from pinned memory without waiting for it."""
        return PackedDocuments(self.cu_seqlens.to(device, non_blocking=True), self.longest)

    def numbers(self, rows: int, tokens: int) -> Tensor:
        """int64 [B, T]: the document number of every token, for kernels that take a mask."""
        flat = torch.arange(rows * tokens, dtype=torch.int32, device=self.cu_seqlens.device)
        return torch.searchsorted(self.cu_seqlens, flat, right=True).view(rows, tokens)


class Context:
    """What one layer needs beside its input. Nothing changes it once it is made."""

    def __init__(
        self,
        cos: Tensor,
        sin: Tensor,
        *,
        query_scale: Tensor | None,
        mask: Tensor | None,
        causal: bool,
        packed: PackedDocuments | None,
    ) -> None:
        self.cos, self.sin = cos, sin  # fp32 [1|B, T, 1, d/2]
        self.query_scale = query_scale  # LogN: fp32 [1|B, T, 1, 1]
        self.mask = mask  # bool [1|B, 1, T, S], True where a query may look
        self.causal = causal  # without a mask: query i looks at keys up to i; False: at all keys
        self.packed = packed  # the same documents as in the mask, for kernels that take boundaries


def document_mask(documents: Tensor) -> Tensor:
    """bool [B, 1, T, T], causal and within documents, from document numbers [B, T] (equal means same)."""
    tokens = documents.shape[1]
    same = documents[:, :, None] == documents[:, None, :]
    return same.logical_and_(torch.ones(tokens, tokens, dtype=torch.bool, device=documents.device).tril_())[
        :, None
    ]


def layer_contexts(
    config: ModelConfig,
    tokens: int,
    device: torch.device,
    *,
    extend: bool,
    positions: Tensor | None = None,
    documents: Tensor | PackedDocuments | None = None,
    lengths: Sequence[int] | None = None,
    cache: KVCache | None = None,
) -> list[Context]:
    """One context per layer for a pass of T tokens; with `extend`, long contexts are extended as configured.

    Dynamic NTK goes by the cache's prompts (alpha stays what it was at prefill, as cached keys are rotated
    already), by `lengths` (the rows' true tokens), or by T. LogN goes by position, windows by slot.
    """
    start = 0
    slots = torch.arange(tokens, device=device)[None]  # (1|B, T)
    if cache is not None:
        if positions is not None or documents is not None or lengths is not None:
            raise ValueError(
                "with a cache, positions and lengths are the cache's own, and rows are one document"
            )
        slots, lengths, start = cache.positions(tokens), cache.prompt_lengths, max(cache.next_slots)
    if positions is None:
        positions = slots
    scale = None
    if extend and config.logn and start + tokens > config.train_length:
        scale = logn_scale(positions, config.train_length)
    packed = documents if isinstance(documents, PackedDocuments) else None
    windowed = extend and any(window < start + tokens for window in config.windows)
    if packed is not None and (device.type == "cpu" or windowed):
        # No kernel takes boundaries here: one mask for all layers.
        documents = packed.numbers(int(packed.cu_seqlens[-1]) // tokens, tokens)
    visible = _visible(slots, start + tokens, documents, cache)

    made: dict[tuple[tuple[float, ...], int | None], Context] = {}
    contexts = []
    for layer in range(config.n_layers):
        window = config.windows[layer] if extend and config.windows else None
        bases = _bases(config, lengths or [tokens], window) if extend else (config.rope_base,)
        if window is not None and window >= start + tokens:
            window = None
        if (bases, window) not in made:
            cos, sin = _tables(positions, config.head_dim, bases)
            mask = visible if window is None else _windowed(visible, slots, start + tokens, window)
            causal = mask is None and start == 0
            boundaries = packed if window is None else None
            made[bases, window] = Context(
                cos, sin, query_scale=scale, mask=mask, causal=causal, packed=boundaries
            )
        contexts.append(made[bases, window])
    return contexts


def _visible(
    slots: Tensor, end: int, documents: Tensor | PackedDocuments | None, cache: KVCache | None
) -> Tensor | None:
    """bool [1|B, 1, T, S], or None where plain causality, or sight of all slots, is right."""
    if isinstance(documents, Tensor):
        return document_mask(documents)
    tokens = slots.shape[1]
    if cache is None or (cache.uniform and (end == tokens or tokens == 1)):
        return None
    return (torch.arange(end, device=slots.device) <= slots[:, :, None])[:, None]


def _windowed(visible: Tensor | None, slots: Tensor, end: int, window: int) -> Tensor:
    """`visible` without keys that lie `window` or more tokens back."""
    back = slots[:, :, None] - torch.arange(end, device=slots.device)
    near = ((back >= 0) & (back < window))[:, None]
    return near if visible is None else near & visible


def _bases(config: ModelConfig, lengths: Sequence[int], window: int | None) -> tuple[float, ...]:
    """RoPE base of each row; one value if all rows have the same."""
    if not config.dynamic_ntk:
        return (config.rope_base,)
    if window is not None and config.window_alpha == "layer":
        lengths = [min(length, window) for length in lengths]
    alphas = [ntk_alpha(length, config.train_length) for length in lengths]
    bases = [ntk_base(config.rope_base, alpha, config.head_dim) for alpha in alphas]
    return tuple(bases) if len(set(bases)) > 1 else (bases[0],)


def _tables(positions: Tensor, head_dim: int, bases: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """cos and sin [1|B, T, 1, d/2]."""
    if len(bases) == 1:
        return rotary_tables(positions, head_dim, bases[0])
    rows = positions.expand(len(bases), -1)
    tables = [rotary_tables(row, head_dim, base) for row, base in zip(rows, bases, strict=True)]
    return torch.stack([cos for cos, _ in tables]), torch.stack([sin for _, sin in tables])
