"""Keys and values of earlier tokens, in place from the first token on.

A row's token at position p lies in slot p. Prompts are right-padded for the first pass, so that causality
alone hides the padding, prefill needs no mask, and a row in a batch is computed as it would be alone;
afterwards every row goes on at its own length, over its padding.

L layers, B rows, S slots, Hkv key heads, d dimensions per head.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.config import ModelConfig


class KVCache:
    """[L, B, Hkv, S, d] of keys (rotated) and of values: 4 * L * S * Hkv * d bytes per row in bf16."""

    def __init__(
        self,
        config: ModelConfig,
        prompt_lengths: Sequence[int],
        slots: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """`prompt_lengths` are the true lengths of the rows: dynamic NTK is fixed by them. ValueError if they
        do not fit."""
        if not prompt_lengths or min(prompt_lengths) < 1 or max(prompt_lengths) > slots:
            raise ValueError(
                f"prompts of {list(prompt_lengths)} tokens for {slots} slots: 1 to that many each"
            )
        self.prompt_lengths = list(prompt_lengths)
        self.next_slots = [0] * len(prompt_lengths)
        shape = (config.n_layers, len(prompt_lengths), config.n_kv_heads, slots, config.head_dim)
        self.keys = torch.zeros(
            shape, dtype=dtype, device=device
        )  # zeros: slots behind a mask must be finite
        self.values = torch.zeros_like(self.keys)

    @property
    def slots(self) -> int:
        return self.keys.shape[3]

    @property
    def uniform(self) -> bool:
        """Whether all rows go on at the same slot."""
        return min(self.next_slots) == max(self.next_slots)

    def positions(self, tokens: int) -> Tensor:
        """int64 [1|B, T]: slots of the next T tokens; one row if all have the same. ValueError when full."""
        end = max(self.next_slots) + tokens
        if end > self.slots:
            raise ValueError(f"{end} tokens for a cache of {self.slots}")
        device = self.keys.device
        starts = torch.tensor(self.next_slots[:1] if self.uniform else self.next_slots, device=device)
        return starts[:, None] + torch.arange(tokens, device=device)

    def layer(self, index: int, positions: Tensor) -> "LayerCache":
        """Layer `index` for the pass whose tokens have these `positions`."""
        start = self.next_slots[0] if self.uniform else None
        end = max(self.next_slots) + positions.shape[1]
        return LayerCache(self.keys[index], self.values[index], positions, start, end)

    def advance(self, tokens: int) -> None:
        """After a pass of T tokens. Behind the prompts, every row goes on at its own length."""
        longest, written = max(self.prompt_lengths), max(self.next_slots)
        if written < longest < written + tokens:
            raise ValueError(f"{written + tokens} prompt tokens, the longest prompt has {longest}")
        if written + tokens == longest and self.uniform:
            self.next_slots = list(self.prompt_lengths)
        else:
            self.next_slots = [slot + tokens for slot in self.next_slots]

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows stay, in this order."""
        chosen = torch.tensor(rows, device=self.keys.device)
        self.keys, self.values = self.keys.index_select(1, chosen), self.values.index_select(1, chosen)
        self.prompt_lengths = [self.prompt_lengths[row] for row in rows]
        self.next_slots = [self.next_slots[row] for row in rows]


class LayerCache:
    """One layer during one pass; see model.attention.KeyStore."""

    def __init__(self, keys: Tensor, values: Tensor, positions: Tensor, start: int | None, end: int) -> None:
        self.keys, self.values = keys, values  # (B, Hkv, S, d)
        self.positions, self.start, self.end = positions, start, end

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes [B, Hkv, T, d] to the slots of the pass; returns all slots up to the last one in use."""
        if self.start is not None:
            self.keys[:, :, self.start : self.end] = keys
            self.values[:, :, self.start : self.end] = values
        else:
            rows = torch.arange(len(keys), device=keys.device)[:, None]
            self.keys[rows, :, self.positions] = keys.transpose(1, 2)
            self.values[rows, :, self.positions] = values.transpose(1, 2)
        return self.keys[:, :, : self.end], self.values[:, :, : self.end]
