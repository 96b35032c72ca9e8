"""Chunked cross-entropy against torch's own, on full logits and by its native linear cross-entropy."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from train.loss import IGNORE, linear_cross_entropy, token_log_probs

N, D, V = 37, 24, 203


def inputs(seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(N, D, generator=random).to(dtype).requires_grad_()
    head = (torch.randn(V, D, generator=random) * 0.3).requires_grad_()
    targets = torch.randint(0, V, (N,), generator=random)
    targets[[0, 5, 36]] = IGNORE
    return hidden, head, targets


def gradients(loss: Tensor, *of: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, of))


@pytest.mark.parametrize("chunk", [1, 8, 36, 37, 1000])  # with tails, one chunk, more than there is
@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_equals_cross_entropy_on_full_logits(chunk: int, z_loss: float) -> None:
    hidden, head, targets = inputs()
    valid = int((targets != IGNORE).sum())
    loss = linear_cross_entropy(hidden, head, targets, scale=1 / valid, z_loss=z_loss, chunk=chunk)
    logits = hidden @ head.T
    square = (logits.logsumexp(-1).square() * (targets != IGNORE)).sum() / valid
    reference = F.cross_entropy(logits, targets) + z_loss * square
    torch.testing.assert_close(loss, reference, rtol=3e-7, atol=0)
    for ours, theirs in zip(
        gradients(3 * loss, hidden, head), gradients(3 * reference, hidden, head), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="this torch has none of its own")
def test_equals_native_linear_cross_entropy() -> None:
    hidden, head, targets = inputs(1)
    valid = int((targets != IGNORE).sum())
    ours = linear_cross_entropy(hidden, head, targets, scale=1 / valid, chunk=8)
    theirs = F.linear_cross_entropy(hidden, head, targets)  # type: ignore[attr-defined]
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    for one, other in zip(gradients(ours, hidden, head), gradients(theirs, hidden, head), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)


def test_bf16_hidden_with_fp32_head() -> None:
    """The head's gradient is an fp32 sum of products: nearer to the truth than bf16 sums of bf16 chunks."""
    hidden, head, targets = inputs(2, torch.bfloat16)
    loss = linear_cross_entropy(hidden, head, targets, scale=1.0, chunk=4)
    d_hidden, d_head = gradients(loss, hidden, head)
    assert (d_hidden.dtype, d_head.dtype) == (torch.bfloat16, torch.float32)
    exact = hidden.detach().double().requires_grad_(), head.detach().bfloat16().double().requires_grad_()
    reference = F.cross_entropy(exact[0] @ exact[1].T, targets, reduction="sum")
    truth = gradients(reference, *exact)
    assert loss.item() == pytest.approx(reference.item(), rel=2e-3)
    assert ((d_head - truth[1]).norm() / truth[1].norm()).item() < 6e-3
    assert ((d_hidden - truth[0]).norm() / truth[0].norm()).item() < 1e-2


def test_nothing_to_predict() -> None:
    """All targets ignored: 0 with gradients of 0 attached, so that no rank waits for another."""
    hidden, head, targets = inputs()
    loss = linear_cross_entropy(
        hidden, head, torch.full_like(targets, IGNORE), scale=1.0, z_loss=1e-3, chunk=8
    )
    assert loss.item() == 0
    assert all(not gradient.any() for gradient in gradients(loss, hidden, head))


def test_frozen_head_and_no_grad() -> None:
    hidden, head, targets = inputs()
    frozen = linear_cross_entropy(hidden, head.detach(), targets, scale=1.0, chunk=8)
    full = linear_cross_entropy(hidden, head, targets, scale=1.0, chunk=8)
    assert torch.equal(gradients(frozen, hidden)[0], gradients(full, hidden)[0])
    with torch.no_grad():
        assert linear_cross_entropy(hidden, head, targets, scale=1.0, chunk=8).item() == full.item()


def test_second_backward_is_refused() -> None:
    hidden, head, targets = inputs()
    loss = linear_cross_entropy(hidden, head, targets, scale=1.0)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="used up"):
        loss.backward()


@pytest.mark.parametrize("chunk", [5, 64])
def test_token_log_probs(chunk: int) -> None:
    hidden, head, targets = inputs(3)
    weights = torch.randn(N, generator=torch.Generator().manual_seed(9))
    ours = token_log_probs(hidden, head, targets, chunk=chunk)
    picked = (hidden @ head.T).log_softmax(-1).gather(1, targets.clamp_min(0)[:, None])[:, 0]
    theirs = picked * (targets != IGNORE)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    for one, other in zip(
        gradients((ours * weights).sum(), hidden, head),
        gradients((theirs * weights).sum(), hidden, head),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=5e-7)


def test_gradients_by_finite_differences() -> None:
    """torch.autograd.gradcheck in double precision would need fp64 sums; differences in fp32 will do."""
    hidden, head, targets = inputs(4)
    direction = torch.randn(V, D, generator=torch.Generator().manual_seed(1))

    def loss(step: float) -> float:
        return linear_cross_entropy(
            hidden, head.detach() + step * direction, targets, scale=0.1, z_loss=1e-2, chunk=16
        ).item()

    slope = (loss(1e-2) - loss(-1e-2)) / 2e-2
    value = linear_cross_entropy(hidden, head, targets, scale=0.1, z_loss=1e-2, chunk=16)
    assert (gradients(value, head)[0] * direction).sum().item() == pytest.approx(slope, rel=2e-3)
