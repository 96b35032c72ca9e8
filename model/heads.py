"""A scalar in place of the next token: reward and value models.

The reward of a text is read at one token that the caller names, since "the last token that is not padding" is
another one wherever the end token is also the padding token, as it is for Qwen.
"""

import math

import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.context import PackedDocuments
from model.transformer import Transformer, initial_weight


class ScalarModel(nn.Module):
    """A Transformer without its vocabulary head, and a fp32 linear layer to one number per token.

    Names of the trunk's parameters are those of `Transformer` after `trunk.`, without `head.weight`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Transformer(config)
        self.trunk.head = nn.Identity()  # type: ignore[assignment] - 152K rows that nobody reads
        self.score = nn.Linear(config.dim, 1)

    def values(
        self, ids: Tensor, positions: Tensor | None = None, documents: Tensor | PackedDocuments | None = None
    ) -> Tensor:
        """fp32 [B, T]: one number behind each token of ids [B, T]; arguments as for `Transformer.hidden`."""
        hidden = self.trunk.hidden(ids, positions, documents)
        with torch.autocast(hidden.device.type, enabled=False):
            return nn.functional.linear(hidden.float(), self.score.weight.float(), self.score.bias.float())[
                ..., 0
            ]

    def forward(self, ids: Tensor, ends: Tensor) -> Tensor:
        """fp32 [B]: the number at token `ends` [B] of each row of ids [B, T]; causal, so padding after it is
        without effect. IndexError for an end outside of its row (on CUDA a device assertion)."""
        return self.values(ids).gather(1, ends[:, None])[:, 0]

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """The trunk as a Transformer's, for training from nothing; then the score layer."""
        for name, parameter in self.trunk.named_parameters():
            parameter.copy_(initial_weight(name, parameter.shape, self.config, seed))
        self.init_score(seed)

    @torch.no_grad()
    def init_score(self, seed: int) -> None:
        """Bias 0, weights N(0, 1 / (D + 1)) (variance), so that rewards of unit-scale states have unit scale
        (Stiennon et al., "Learning to summarize from human feedback", 2020, appendix B)."""
        weight = initial_weight("score.weight", self.score.weight.shape, self.config, seed)
        self.score.weight.copy_(weight * (1 / math.sqrt(self.config.dim + 1) / self.config.init_std))
        self.score.bias.zero_()
