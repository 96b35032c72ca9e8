"""What `prepare` does to blocks (compiled, recomputed) changes no loss and no gradient."""

import functools
from collections.abc import Iterator

import pytest
import torch

from model.config import ModelConfig
from model.context import PackedDocuments
from model.transformer import Transformer
from train.config import Loss, Parallel
from train.loop import LanguageModel
from train.parallel import open_world, prepare

# torch's own tracing looks at .grad of inputs that are no leaves.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

SHAPE = ModelConfig(n_vocab=128, dim=32, n_layers=2, n_heads=2, n_kv_heads=2, head_dim=16, hidden=48)
ROW_STARTS = [[0, 5, 20], [0, 11]]


@pytest.fixture(autouse=True)
def forget_graphs() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def loss_and_gradients(masked: bool, **settings: bool) -> tuple[float, list[torch.Tensor], torch.Tensor]:
    """One pass over two rows of 32 tokens in fp32: loss, gradients, log-probabilities."""
    parallel = Parallel(strategy="single", device="cpu", dtype="float32", **settings)
    ids = torch.randint(128, (2, 32), generator=torch.Generator().manual_seed(0))
    documents = PackedDocuments.from_row_starts(ROW_STARTS, 32, size=8) if masked else None
    with open_world(parallel) as world:
        with torch.device("meta"):
            objective = LanguageModel(Transformer(SHAPE), Loss(chunk_tokens=24))
        module = prepare(objective, objective.model, parallel, world, seed=0)
        with torch.no_grad():
            log_probs = objective.log_probs(ids, ids.roll(-1, 1), documents)
        loss = module(ids, ids.roll(-1, 1), documents, 1 / 64)
        loss.backward()
    found = [parameter.grad for parameter in objective.model.parameters() if parameter.grad is not None]
    assert len(found) == len(list(objective.model.parameters()))
    return loss.item(), found, log_probs


def assert_alike(masked: bool, tolerance: float, **settings: bool) -> None:
    plain = loss_and_gradients(masked, compile=False)
    other = loss_and_gradients(masked, **settings)
    assert other[0] == pytest.approx(plain[0], abs=tolerance)
    torch.testing.assert_close(other[1:], plain[1:], atol=tolerance, rtol=0)


@pytest.mark.parametrize("masked", [False, True])
def test_recomputed_blocks(masked: bool) -> None:
    assert_alike(masked, 0.0, compile=False, checkpoint_blocks=True)


@pytest.mark.parametrize("recompute", [False, True])
def test_every_block_is_one_graph(recompute: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as it is for compiling, with documents apart, and then run without a code generator."""
    traced = functools.partialmethod(torch.nn.Module.compile, backend="eager")
    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    assert_alike(True, 1e-6, compile=True, checkpoint_blocks=recompute)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's code generator
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_for_the_cpu(recompute: bool) -> None:
    """With the code generator, which needs a C++ compiler."""
    for masked in (False, True):
        assert_alike(masked, 1e-5, compile=True, checkpoint_blocks=recompute)
