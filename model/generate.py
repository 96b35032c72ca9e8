"""Completion of prompts, many at a time, with a key-value cache of fixed size.

Prompts of different lengths need no padding by the caller: each row lies from slot 0 on (model/cache.py), and
its tokens are those that it would get alone. Rows that have ended are taken out of the batch once half of it
has ended. Memory of the cache: see KVCache; logits are computed for the last token of each row only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.cache import KVCache
from model.sampling import Sampling, choose, uniform
from model.transformer import Transformer

GREEDY = Sampling()


@dataclass(frozen=True)
class Piece:
    """What a row got in one step. Tokens that may begin a stop sequence come when that is decided."""

    row: int
    ids: tuple[int, ...]
    end: str | None = None  # "stop" or "length" with the row's last piece
    stop: tuple[int, ...] = ()  # the stop sequence that was met; it is not part of `ids`


@dataclass(frozen=True)
class Completion:
    """A row's new tokens, without the stop sequence that ended them."""

    ids: tuple[int, ...]
    end: str  # "stop" or "length"
    stop: tuple[int, ...] = ()


class _Row:
    """A row's new tokens, and how many of them were handed out."""

    def __init__(self, prompt: Sequence[int], key: int) -> None:
        self.length, self.key = len(prompt), key
        self.new: list[int] = []
        self.given = 0

    def take(self, token: int, row: int, limit: int, stops: Sequence[tuple[int, ...]]) -> Piece:
        self.new.append(token)
        new = self.new
        for stop in stops:
            if len(new) >= len(stop) and tuple(new[-len(stop) :]) == stop:
                return Piece(row, tuple(new[self.given : len(new) - len(stop)]), "stop", stop)
        if len(new) == limit:
            return Piece(row, tuple(new[self.given :]), "length")
        # The longest end of the row that begins some stop sequence stays back.
        longest = max((len(stop) - 1 for stop in stops), default=0)
        held = next(
            n
            for n in range(min(longest, len(new)), -1, -1)
            if n == 0 or any(len(stop) > n and tuple(new[-n:]) == stop[:n] for stop in stops)
        )
        first, self.given = self.given, max(self.given, len(new) - held)
        return Piece(row, tuple(new[first : self.given]))


@torch.no_grad()
def stream(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    stop: Sequence[Sequence[int]] = (),
    row_keys: Sequence[int] | None = None,
) -> Iterator[Piece]:
    """Pieces of all rows, step by step; the last piece of every row has an `end`.

    `stop`: token sequences; when a row meets several in one token, the first in the list counts. `row_keys`
    name the rows to the random draws (default 0, 1, ...): with them a row draws the same in another batch.
    ValueError for empty prompts, ids outside of the vocabulary, or a model in training mode (which extends no
    contexts).
    """
    stops = [tuple(ids) for ids in stop]
    keys = list(range(len(prompts))) if row_keys is None else list(row_keys)
    _check(model, prompts, max_new_tokens, stops, keys)
    rows = [_Row(prompt, key) for prompt, key in zip(prompts, keys, strict=True)]
    active = list(
        range(len(rows))
    )  # rows of the batch, in its order; ended ones too until they are taken out
    device = model.embed.weight.device
    cache = _cache(model, [row.length for row in rows], max_new_tokens)
    logits = _prefill(model, prompts, cache)
    seen = None
    if sampling.repetition_penalty != 1.0:
        seen = torch.zeros(logits.shape, dtype=torch.bool, device=device)
        for row, prompt in enumerate(prompts):
            seen[row, torch.tensor(prompt, device=device)] = True
    ended: set[int] = set()
    while True:
        draws = [0.0] * len(active)
        if sampling.temperature > 0:
            at = [(rows[row].key, rows[row].length + len(rows[row].new)) for row in active]
            draws = [uniform(sampling.seed, key, position) for key, position in at]
        tokens = choose(logits, sampling, draws, seen)
        for row, token in zip(active, tokens.tolist(), strict=True):
            if row not in ended:
                piece = rows[row].take(token, row, max_new_tokens, stops)
                if piece.end is not None:
                    ended.add(row)
                if piece.ids or piece.end is not None:
                    yield piece
        if len(ended) == len(rows):
            return
        if seen is not None:
            seen.scatter_(1, tokens[:, None], True)
        going = [place for place, row in enumerate(active) if row not in ended]
        if 2 * len(going) <= len(active):
            cache.keep(going)
            chosen = torch.tensor(going, device=device)
            tokens = tokens[chosen]
            seen = None if seen is None else seen[chosen]
            active = [active[place] for place in going]
        logits = model(tokens[:, None], cache=cache)[:, -1]


def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: Sampling = GREEDY,
    stop: Sequence[Sequence[int]] = (),
    row_keys: Sequence[int] | None = None,
) -> list[Completion]:
    """One completion per prompt; arguments and errors as for `stream`."""
    ids: list[list[int]] = [[] for _ in prompts]
    ends: list[tuple[str, tuple[int, ...]]] = [("", ())] * len(prompts)
    pieces = stream(
        model, prompts, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop, row_keys=row_keys
    )
    for piece in pieces:
        ids[piece.row] += piece.ids
        if piece.end is not None:
            ends[piece.row] = piece.end, piece.stop
    return [Completion(tuple(new), *end) for new, end in zip(ids, ends, strict=True)]


def _check(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stops: Sequence[tuple[int, ...]],
    keys: Sequence[int],
) -> None:
    n_vocab = model.config.n_vocab
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() first")
    if not prompts or any(not len(prompt) for prompt in prompts):
        raise ValueError("every prompt needs at least one token")
    for row, prompt in enumerate(prompts):
        if min(prompt) < 0 or max(prompt) >= n_vocab:
            raise ValueError(f"prompt {row} has an id outside of 0..{n_vocab - 1}")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens = {max_new_tokens}: must be at least 1")
    if any(not stop for stop in stops):
        raise ValueError("a stop sequence is empty")
    if len(keys) != len(prompts):
        raise ValueError(f"{len(keys)} row_keys for {len(prompts)} prompts")


def _cache(model: Transformer, lengths: list[int], max_new_tokens: int) -> KVCache:
    """In the dtype that attention computes in: the weights', or autocast's."""
    weight = model.embed.weight
    dtype, kind = weight.dtype, weight.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
    return KVCache(model.config, lengths, max(lengths) + max_new_tokens, dtype=dtype, device=weight.device)


def _prefill(model: Transformer, prompts: Sequence[Sequence[int]], cache: KVCache) -> Tensor:
    """Logits [B, V] behind each prompt."""
    device = model.embed.weight.device
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts], device=device)
    hidden = model.hidden(ids, cache=cache)
    last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=device)
    return model.head(hidden[torch.arange(len(prompts), device=device), last])
