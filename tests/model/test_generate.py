"""Generation says what the full forward pass says, alone or in a batch, and draws by key."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from model.cache import KVCache
from model.config import ModelConfig
from model.generate import Completion, generate, stream
from model.sampling import Sampling, choose, truncated, uniform
from model.transformer import Transformer
from pipeline.kernels.keyed import GAMMA, mix

Config = Callable[..., ModelConfig]
Model = Callable[..., Transformer]

PROMPTS = [[5, 9, 2], [17, 3, 88, 120, 4, 4, 61], [99], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]


@torch.no_grad()
def by_full_forward(model: Transformer, prompt: list[int], steps: int) -> list[int]:
    """Greedy, without a cache."""
    ids = list(prompt)
    for _ in range(steps):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
def test_greedy_equals_the_full_forward_pass(
    random_model: Model, small_config: Config, n_kv_heads: int
) -> None:
    model = random_model(small_config(n_kv_heads=n_kv_heads, train_length=64))
    expected = [by_full_forward(model, prompt, 20) for prompt in PROMPTS]
    completions = generate(model, PROMPTS, max_new_tokens=20)
    assert [list(completion.ids) for completion in completions] == expected
    assert {completion.end for completion in completions} == {"length"}


@torch.no_grad()
@pytest.mark.parametrize("windows", [(), (16, 16, 32)])
def test_cached_logits_equal_full_logits_beyond_the_training_length(
    random_model: Model, small_config: Config, windows: tuple[int, ...]
) -> None:
    """With LogN and windows; NTK is off, as its alpha would follow the longer text."""
    model = random_model(small_config(dynamic_ntk=False, windows=windows))
    rows = torch.randint(128, (3, 40), generator=torch.Generator().manual_seed(1))
    lengths = [24, 7, 18]
    cache = KVCache(model.config, lengths, 40)
    cached = model(rows[:, :24], cache=cache)
    for step in range(16):
        tokens = torch.stack([rows[row, length + step] for row, length in enumerate(lengths)])
        cached = model(tokens[:, None], cache=cache)
    for row, length in enumerate(lengths):
        full = model(rows[row : row + 1, : length + 16])
        torch.testing.assert_close(cached[row, -1], full[0, -1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_prefill_in_chunks_is_prefill(random_model: Model, small_config: Config) -> None:
    model = random_model(small_config())
    ids = torch.randint(128, (2, 30), generator=torch.Generator().manual_seed(2))
    whole, chunked = KVCache(model.config, [30, 30], 32), KVCache(model.config, [30, 30], 32)
    expected = model(ids, cache=whole)
    parts = [model(ids[:, start : start + 11], cache=chunked) for start in (0, 11, 22)]
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(chunked.keys, whole.keys, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="33 tokens for a cache of 32"):
        model(ids[:, :3], cache=whole)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(repetition_penalty=1.3),
        Sampling(temperature=0.8, top_p=0.9, seed=3),
        Sampling(temperature=1.5, top_k=20, repetition_penalty=1.1, seed=4),
    ],
)
def test_a_row_is_the_same_alone_and_in_a_batch(
    random_model: Model, small_config: Config, sampling: Sampling
) -> None:
    """Some rows are beyond the training length at prefill (alpha 3), some are not; ended rows leave."""
    model = random_model(small_config())
    prompts = [*PROMPTS, list(range(20)), list(range(40, 80))]
    together = generate(model, prompts, max_new_tokens=24, sampling=sampling, stop=[[7], [60, 61]])
    for row, prompt in enumerate(prompts):
        alone = generate(
            model, [prompt], max_new_tokens=24, sampling=sampling, stop=[[7], [60, 61]], row_keys=[row]
        )
        assert alone == [together[row]]


def test_draws_depend_on_seed_row_and_position_only(random_model: Model, small_config: Config) -> None:
    model = random_model(small_config())
    hot = Sampling(temperature=1.0, seed=1)
    rows = [[3, 4, 5]] * 4
    first = generate(model, rows, max_new_tokens=12, sampling=hot)
    assert len({completion.ids for completion in first}) == 4
    assert generate(model, rows[:2], max_new_tokens=12, sampling=hot, row_keys=[2, 3]) == first[2:]
    assert generate(model, rows, max_new_tokens=12, sampling=Sampling(1.0, seed=2)) != first
    # Going on from a row's own tokens goes on with the same draws.
    resumed = [3, 4, 5, *first[1].ids[:5]]
    assert generate(model, [resumed], max_new_tokens=7, sampling=hot, row_keys=[1])[0].ids == first[1].ids[5:]


def test_stop_sequences_end_rows_and_are_held_back(random_model: Model, small_config: Config) -> None:
    model = random_model(small_config(train_length=64))
    free = by_full_forward(model, PROMPTS[1], 12)
    stop = free[4:7]
    cut = next(i for i in range(12) if free[i : i + 3] == stop)
    assert generate(model, PROMPTS[1:2], max_new_tokens=12, stop=[[127, 126], stop]) == [
        Completion(tuple(free[:cut]), "stop", tuple(stop))
    ]
    # A sequence that is begun but not ended: held back, then given.
    begun = [*free[2:4], (free[4] + 1) % 128]
    pieces = list(stream(model, PROMPTS[1:2], max_new_tokens=8, stop=[begun]))
    assert [token for piece in pieces for token in piece.ids] == free[:8]
    assert pieces[-1].end == "length" and all(piece.end is None for piece in pieces[:-1])
    assert any(len(piece.ids) > 1 for piece in pieces)


def test_streams_come_token_by_token(random_model: Model, small_config: Config) -> None:
    model = random_model(small_config(train_length=64))
    pieces = list(stream(model, PROMPTS, max_new_tokens=3))
    assert [piece.row for piece in pieces] == [0, 1, 2, 3] * 3
    assert all(len(piece.ids) == 1 for piece in pieces)


def test_choices_follow_their_definitions() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0, 2.0]])
    p = logits.softmax(-1)[0]
    assert truncated(logits, 1, 1.0)[0].tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]
    assert (truncated(logits, 2, 1.0)[0] > 0).tolist() == [
        False,
        True,
        False,
        True,
        True,
    ]  # equals come along
    torch.testing.assert_close(truncated(logits, 0, float(p[1]) + 0.01)[0], p * torch.tensor([0, 1, 0, 1, 1]))
    assert (truncated(logits, 0, float(p[1]) - 0.01)[0] > 0).sum() == 1
    seen = torch.tensor([[False, True, False, False, False]])
    assert choose(logits, Sampling(repetition_penalty=2.0), [0.0], seen).item() in (3, 4)
    assert choose(-logits, Sampling(repetition_penalty=2.0), [0.0], ~seen).item() == 0
    edges = torch.cat([torch.zeros(1), p.double().cumsum(-1)])
    for token in range(5):  # the inverse of the cumulative distribution, in the order of ids
        draws = [float(edges[token]) + 1e-6, float(edges[token + 1]) - 1e-6]
        assert choose(logits.expand(2, -1), Sampling(1.0), draws).tolist() == [token, token]
    assert choose(torch.tensor([[1.0, -torch.inf]]), Sampling(1.0), [1 - 2.0**-53]).item() == 0


def test_top_p_of_a_flat_distribution_looks_beyond_the_first_candidates() -> None:
    logits = torch.linspace(0, 0.001, 2000)[None]
    taken = (truncated(logits, 0, 0.9)[0] > 0).nonzero()[:, 0]
    assert len(taken) == pytest.approx(1800, abs=2) and taken[-1] == 1999 and taken[0] == 2000 - len(taken)


def test_uniform_numbers_are_pinned_and_even() -> None:
    state = np.zeros(1, np.uint64)
    for word in (2**64 - 1, 2, 3):
        state = mix((state ^ np.uint64(word)) + GAMMA)
    assert uniform(-1 % 2**64, 2, 3) == int(state[0] >> np.uint64(11)) / 2**53
    numbers = torch.tensor([uniform(5, row, position) for row in range(64) for position in range(64)])
    counts = torch.histc(numbers, 16, 0, 1)
    assert ((counts - 256).square() / 256).sum() < 37.7  # chi square, 15 degrees of freedom, 0.1 %
    by_row = numbers.view(64, 64)
    assert abs(torch.corrcoef(torch.stack([by_row[:-1].flatten(), by_row[1:].flatten()]))[0, 1]) < 0.06


def test_frequencies_of_draws_are_the_probabilities() -> None:
    logits = torch.tensor([[0.1, 1.2, -0.5, 0.7]])
    draws = [uniform(9, row, 0) for row in range(20_000)]
    counts = choose(logits.expand(20_000, -1), Sampling(0.7), draws).bincount(minlength=4)
    torch.testing.assert_close(counts / 20_000, (logits / 0.7).softmax(-1)[0], atol=0.012, rtol=0)


def test_bad_requests_are_refused(random_model: Model, small_config: Config) -> None:
    model = random_model(small_config())
    bad: list[tuple[list[list[int]], dict[str, Any], str]] = [
        ([], {}, "at least one token"),
        ([[1], []], {}, "at least one token"),
        ([[1], [128]], {}, r"prompt 1 has an id outside of 0\.\.127"),
        ([[1]], {"stop": [[]]}, "empty"),
        ([[1]], {"row_keys": [1, 2]}, "2 row_keys for 1 prompts"),
        ([[1]], {"max_new_tokens": 0}, "max_new_tokens = 0"),
    ]
    for prompts, keywords, message in bad:
        with pytest.raises(ValueError, match=message):
            generate(model, prompts, **{"max_new_tokens": 1, **keywords})
    values: list[dict[str, Any]] = [
        {"top_p": 0.0},
        {"temperature": -1.0},
        {"top_k": -1},
        {"repetition_penalty": 0.0},
    ]
    for keywords in values:
        with pytest.raises(ValueError, match=next(iter(keywords))):
            Sampling(**keywords)
    with pytest.raises(ValueError, match="training mode"):
        generate(model.train(), [[1]], max_new_tokens=1)
