"""One number per text, read at the token that the caller names."""

from collections.abc import Callable

import pytest
import torch

from model.config import ModelConfig
from model.heads import ScalarModel
from model.transformer import Transformer

Config = Callable[..., ModelConfig]


@pytest.fixture(name="scalar")
def scalar_fixture(small_config: Config) -> ScalarModel:
    model = ScalarModel(small_config(train_length=64)).eval()
    model.init_weights(3)
    for name, parameter in model.trunk.named_parameters():
        if name.endswith(("bias", "weight")):
            parameter.data.mul_(5)
    return model


@torch.no_grad()
def test_the_number_is_that_of_the_named_token(scalar: ScalarModel) -> None:
    ids = torch.randint(128, (3, 20), generator=torch.Generator().manual_seed(0))
    ids[0, 9:] = 127  # the end token is the padding token: "last that is not padding" would be wrong
    ends = torch.tensor([9, 19, 0])
    scores = scalar(ids, ends)
    assert scores.shape == (3,) and scores.dtype == torch.float32
    for row, end in enumerate(ends.tolist()):
        alone = scalar(ids[row : row + 1, : end + 1], torch.tensor([end]))
        torch.testing.assert_close(scores[row], alone[0], atol=1e-5, rtol=0)
        hidden = scalar.trunk.hidden(ids[row : row + 1])[0, end]
        torch.testing.assert_close(scores[row], hidden @ scalar.score.weight[0] + scalar.score.bias[0])
    assert torch.equal(scalar.values(ids).gather(1, ends[:, None])[:, 0], scores)
    with pytest.raises((IndexError, RuntimeError)):
        scalar(ids, torch.tensor([20, 0, 0]))


def test_only_the_vocabulary_head_is_gone(scalar: ScalarModel, small_config: Config) -> None:
    config = small_config(train_length=64)
    names = {f"trunk.{name}" for name, _ in Transformer(config).named_parameters() if name != "head.weight"}
    assert {name for name, _ in scalar.named_parameters()} == names | {"score.weight", "score.bias"}
    wide = ScalarModel(ModelConfig(64, 4096, 1, 2, 2, 16, 32))
    wide.init_score(1)
    assert wide.score.weight.std().item() == pytest.approx(4097**-0.5, rel=0.06)
    assert wide.score.bias.item() == 0


def test_it_learns_to_order_two_texts(scalar: ScalarModel) -> None:
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 5, 6]])
    ends = torch.tensor([3, 3])
    optimizer = torch.optim.AdamW(scalar.parameters(), lr=1e-3)
    for _ in range(20):
        good, bad = scalar.train()(ids, ends)
        loss = -torch.nn.functional.logsigmoid(good - bad)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    good, bad = scalar(ids, ends)
    assert good > bad + 1


def test_scores_are_fp32_under_autocast(scalar: ScalarModel) -> None:
    ids = torch.arange(8)[None]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert scalar(ids, torch.tensor([7])).dtype == torch.float32
