"""Initialisation, grouped queries, documents in a row, and blocks that can be compiled."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint

import model.attention as model_attention
from model.attention import attend_packed
from model.config import ModelConfig
from model.context import PackedDocuments, layer_contexts
from model.layers import RMSNorm
from model.rope import inverse_frequencies, rotary_tables, rotate
from model.transformer import Transformer, build, initial_weight

Config = Callable[..., ModelConfig]
Model = Callable[..., Transformer]


def test_init_statistics_are_the_official_ones() -> None:
    config = ModelConfig(4096, 256, 8, 4, 2, 64, 704)
    model = build(config)
    model.init_weights(1)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            assert torch.equal(parameter, torch.ones_like(parameter))
        elif name.endswith("bias"):
            assert torch.equal(parameter, torch.zeros_like(parameter))
        else:
            residual = name.endswith(("out.weight", "mlp.proj.weight"))
            std = 0.02 / math.sqrt(2 * 8) if residual else 0.02
            error = 4 / math.sqrt(parameter.numel())  # four standard errors of either estimate
            assert parameter.std().item() == pytest.approx(std, rel=error)
            assert abs(parameter.mean().item()) < std * error


def test_init_is_a_function_of_seed_and_name(small_config: Config) -> None:
    config = small_config()
    first, again, other = (build(config) for _ in range(3))
    first.init_weights(7)
    for name, parameter in reversed(list(again.named_parameters())):  # in any order
        parameter.data.copy_(initial_weight(name, parameter.shape, config, 7))
    other.init_weights(8)
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c) == name.endswith(("norm.weight", "bias"))
    assert not torch.equal(
        first.get_parameter("blocks.0.mlp.w1.weight"), first.get_parameter("blocks.0.mlp.w2.weight")
    )


@torch.no_grad()
def test_loss_starts_near_the_logarithm_of_the_vocabulary() -> None:
    model = build(ModelConfig(8192, 128, 4, 4, 4, 32, 384))
    model.init_weights(0)
    ids = torch.randint(8192, (4, 64), generator=torch.Generator().manual_seed(0))
    loss = torch.nn.functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(8192), abs=0.05)


def separate_logits(model: Transformer, ids: torch.Tensor, starts: list[int]) -> torch.Tensor:
    """Each document of one row by itself, one after the other: [T, V]."""
    ends = [*starts[1:], ids.shape[0]]
    return torch.cat([model(ids[None, a:b])[0] for a, b in zip(starts, ends, strict=True)])


@torch.no_grad()
@pytest.mark.parametrize("n_kv_heads", [4, 2])
def test_masked_documents_are_separate_documents(
    random_model: Model, small_config: Config, n_kv_heads: int
) -> None:
    model = random_model(small_config(n_kv_heads=n_kv_heads, train_length=64))
    ids = torch.randint(128, (3, 40), generator=torch.Generator().manual_seed(0))
    starts = [[0, 7, 8, 30], [0], [0, 39]]
    packed = PackedDocuments.from_row_starts(starts, 40, size=12)
    numbers = torch.tensor([[sum(token >= s for s in row) for token in range(40)] for row in starts])
    by_numbers, by_starts = model(ids, documents=numbers), model(ids, documents=packed)
    assert torch.equal(by_numbers, by_starts)
    for row in range(3):
        expected = separate_logits(model, ids[row], starts[row])
        torch.testing.assert_close(by_numbers[row], expected, atol=1e-5, rtol=0)
    assert (by_numbers[0] - model(ids)[0])[7:].abs().max() > 0.1


def test_gradients_do_not_cross_documents(random_model: Model, small_config: Config) -> None:
    model = random_model(small_config(train_length=64)).train()
    ids = torch.arange(40)[None]
    packed = PackedDocuments.from_row_starts([[0, 15]], 40, size=4)
    model(ids, documents=packed)[0, 15:].sum().backward()
    gradient = model.embed.weight.grad
    assert gradient is not None
    assert gradient[:15].abs().max() == 0 and (gradient[15:40].abs().amax(-1) > 0).all()


def test_boundaries_as_the_varlen_kernel_takes_them(
    random_model: Model, small_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel runs on GPUs only; a stand-in computes here what its documentation promises."""

    def stand_in(q, k, v, starts_q, starts_k, longest_q, longest_k, *, window_size):
        assert starts_q is starts_k and starts_q.dtype == torch.int32 and (longest_q, longest_k) == (40, 40)
        assert window_size == (-1, 0) and q.shape == k.shape == v.shape == (80, 4, 16)
        y = torch.zeros_like(q)
        for a, b in pairwise(starts_q.tolist()):
            piece = [x[a:b].transpose(0, 1) for x in (q, k, v)]
            y[a:b] = torch.nn.functional.scaled_dot_product_attention(*piece, is_causal=True).transpose(0, 1)
        return y

    model = random_model(small_config(n_kv_heads=2, train_length=64))
    ids = torch.randint(128, (2, 40), generator=torch.Generator().manual_seed(0))
    packed = PackedDocuments.from_row_starts([[0, 7, 30], [0]], 40, size=9)
    assert packed.cu_seqlens.tolist() == [0, 7, 30, 40, 80, 80, 80, 80, 80]
    with torch.no_grad():
        expected = model(ids, documents=packed)
        monkeypatch.setattr(model_attention, "varlen_attn", stand_in)
        monkeypatch.setattr(
            model_attention, "attend", lambda q, k, v, context: attend_packed(q, k, v, context.packed)
        )
        torch.testing.assert_close(model(ids, documents=packed), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([[0, 5], [1, 5]], r"row_start \[1, 5\]"),
        ([[0, 5, 5]], "rise below 40"),
        ([[0, 40]], "rise below 40"),
        ([[]], "begin with 0"),
        ([[0, 1, 2, 3]], "4 documents in a batch that provides for 3"),
    ],
)
def test_boundaries_that_are_none_are_refused(starts: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PackedDocuments.from_row_starts(starts, 40, size=4)


@torch.no_grad()
def test_rows_of_several_lengths_are_extended_by_their_own(random_model: Model, small_config: Config) -> None:
    """Right-padded rows: alpha 1, 3 and 7 in one batch."""
    model = random_model(small_config())
    ids = torch.randint(128, (3, 50), generator=torch.Generator().manual_seed(0))
    lengths = [9, 30, 50]
    together = model(ids, lengths=lengths)
    for row, length in enumerate(lengths):
        alone = model(ids[row : row + 1, :length])[0]
        torch.testing.assert_close(together[row, :length], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_positions_are_relative(random_model: Model, small_config: Config) -> None:
    model = random_model(small_config(train_length=64))
    ids = torch.arange(30)[None]
    shifted = model(ids, positions=torch.arange(30)[None] + 11)
    torch.testing.assert_close(shifted, model(ids), atol=1e-4, rtol=0)


@torch.no_grad()
def test_grouped_queries_are_repeated_keys(random_model: Model, small_config: Config) -> None:
    grouped = random_model(small_config(n_kv_heads=2))
    full = build(small_config()).eval()
    state = grouped.state_dict()
    for name, value in state.items():
        if ".qkv." in name:
            q, k, v = value.split([64, 32, 32])
            k, v = (x.unflatten(0, (2, 16)).repeat_interleave(2, 0).flatten(0, 1) for x in (k, v))
            state[name] = torch.cat([q, k, v])
    full.load_state_dict(state)
    ids = torch.arange(40)[None]
    torch.testing.assert_close(grouped(ids), full(ids), atol=1e-5, rtol=0)


# torch's own tracing looks at .grad of inputs that are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_block_is_one_graph_with_and_without_documents(random_model: Model, small_config: Config) -> None:
    model = random_model(small_config()).train()
    ids = torch.arange(16)[None].expand(2, -1)
    packed = PackedDocuments.from_row_starts([[0, 3], [0]], 16, size=5)
    expected = model(ids), model(ids, documents=packed)
    for block in model.blocks:
        block.compile(fullgraph=True, dynamic=False, backend="eager")  # the tracing, without a code generator
    torch.testing.assert_close(model(ids), expected[0])
    torch.testing.assert_close(model(ids, documents=packed), expected[1])
    torch._dynamo.reset()


def test_mixed_precision_leaves_the_tables_alone(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FSDP casts the float tensors among a block's inputs, in tuples and dataclasses too."""
    rendezvous = (tmp_path / "rendezvous").as_uri()
    torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=0, world_size=1)
    try:
        model = Transformer(small_config(train_length=64))
        model.init_weights(0)
        for module in (*model.blocks, model):
            fully_shard(module, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
        dtypes = set()

        def watched(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
            dtypes.add((x.dtype, cos.dtype, sin.dtype))
            return rotate(x, cos, sin)

        monkeypatch.setattr(model_attention, "rotate", watched)
        model(torch.arange(64)[None]).square().sum().backward()
        assert dtypes == {(torch.bfloat16, torch.float32, torch.float32)}
    finally:
        torch.distributed.destroy_process_group()


def test_a_block_can_be_recomputed(random_model: Model, small_config: Config) -> None:
    model = random_model(small_config()).train()
    ids = torch.arange(16)[None]
    gradients = []
    for recompute in (False, True):
        model.zero_grad()
        context = layer_contexts(model.config, 16, ids.device, extend=False)[0]
        x = model.embed(ids)
        for block in model.blocks:
            x = checkpoint(block, x, context, use_reentrant=False) if recompute else block(x, context)
        x.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_layers_compute_in_fp32_and_give_back_bf16() -> None:
    x = torch.randn(3, 7, 64, generator=torch.Generator().manual_seed(0)).bfloat16() * 30
    norm = RMSNorm(64, 1e-6)
    norm.weight.data.normal_(1, 0.2)
    wide = x.double()
    expected = (
        wide * (wide.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
    ).bfloat16() * norm.weight.bfloat16()
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x), expected, atol=0, rtol=0.01)
    torch.testing.assert_close(
        norm(x.float()), (wide * (wide.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * norm.weight).float()
    )
    cos, sin = rotary_tables(torch.tensor([[30_000, 30_001]]), 16, 1e4)
    assert cos.dtype == torch.float32
    q = torch.ones(1, 2, 1, 16)
    turned = rotate(q, cos, sin)
    assert rotate(q.bfloat16(), cos, sin).dtype == torch.bfloat16
    angle = (30_001 * inverse_frequencies(16, 1e4)).double()
    torch.testing.assert_close(turned[0, 1, 0, :8].double(), angle.cos() - angle.sin(), atol=1e-2, rtol=0)
    torch.testing.assert_close(turned.norm(dim=-1), torch.full((1, 2, 1), 4.0))
