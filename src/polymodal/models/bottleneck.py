"""Deep fusion: modalities exchange information through a few shared tokens.

Legend: batch = utterances, time = frames, feature = width, output = classes or values.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polymodal.errors import ConfigError
from polymodal.layers.attention import SelfAttentionBlock
from polymodal.layers.masks import zero_padding
from polymodal.models.fusion import Fusion, mean_of_present
from polymodal.schemas.batch import PaddedSequence


class BottleneckFusion(Fusion):
    """Multimodal bottleneck transformer, MBT (Nagrani et al. 2021, arXiv 2107.00135).

    In every layer each modality attends to its own frames and to the bottleneck tokens; the tokens
    are then averaged over the present modalities. So all exchange passes through `num_tokens`
    vectors, and cost grows with each modality's own length.

    The options and errors are those of `Fusion`, and `num_layers`, `num_heads`, `num_tokens`, and
    the `dropout` in all layers and before the output.

    Example:
        >>> BottleneckFusion({"speech": 8, "text": 4}, 3, num_tokens=2).num_outputs
        3
    """

    def __init__(
        self,
        feature_sizes: Mapping[str, int],
        num_outputs: int,
        *,
        width: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        num_tokens: int = 4,
        dropout: float = 0.1,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_sizes, num_outputs, width, modality_dropout)
        if num_tokens < 1:
            raise ConfigError(f"num_tokens {num_tokens}", expected="at least 1")
        self.tokens = nn.Parameter(torch.randn(num_tokens, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {name: SelfAttentionBlock(width, num_heads, dropout) for name in self.feature_sizes}
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_outputs))

    def forward(self, modalities: Mapping[str, PaddedSequence]) -> Float[Tensor, "batch output"]:
        """Return the logits, `[batch, output]`; a fixed row where nothing is present."""
        inputs = self.projected(modalities)
        streams = {name: zero_padding(s.values, s.valid_mask) for name, s in inputs.items()}
        present = torch.stack([sequence.present for sequence in inputs.values()], dim=1)
        tokens = self.tokens.expand(len(present), -1, -1)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            updates = []
            for name, sequence in inputs.items():
                mask = sequence.valid_mask
                streams[name], update = _attend(layer[name], streams[name], mask, tokens)
                updates.append(update.flatten(1))
            shared = mean_of_present(torch.stack(updates, dim=1), present).view_as(tokens)
            tokens = torch.where(present.any(dim=1)[:, None, None], shared, tokens)
        logits: Tensor = self.head(self.norm(tokens.mean(dim=1)))
        return logits


def _attend(
    block: nn.Module, stream: Tensor, valid_mask: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the frames of one modality and its version of the tokens after one layer."""
    num = tokens.shape[1]
    mask = torch.cat([valid_mask.new_ones(len(stream), num), valid_mask], dim=1)
    out = block(torch.cat([tokens, stream], dim=1), mask)
    return zero_padding(out[:, num:], valid_mask), out[:, :num]
