"""Deep fusion: modalities talk through a few tokens that all of them may read and write.

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
    are then the mean of what the present modalities made of them. So all exchange passes through
    `num_tokens` vectors, and cost grows with each modality's own length.

    Args:
        feature_sizes: Name of each modality to the width of its vectors.
        num_outputs: Number of classes or values.
        width: Width of the streams.
        num_layers: Number of layers.
        num_heads: Number of attention heads.
        num_tokens: Number of bottleneck tokens.
        dropout: Dropout in all parts.
        modality_dropout: As in `Fusion`.

    Raises:
        ConfigError: A size or an option is out of its range.

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
        super().__init__(feature_sizes, num_outputs, width=width, modality_dropout=modality_dropout)
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
        """Returns the logits.

        Args:
            modalities: Name to sequence, at least one of this model's; one that is left out is
                absent from every utterance.

        Returns:
            One row an utterance; a fixed row where nothing is present.
        """
        inputs = self.projected(modalities)
        streams = {name: zero_padding(one.values, one.valid_mask) for name, one in inputs.items()}
        present = torch.stack([one.present for one in inputs.values()], dim=1)
        tokens = self.tokens.expand(len(present), -1, -1)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            written = []
            for name, one in inputs.items():
                streams[name], read = self._through(layer[name], streams[name], one, tokens)
                written.append(read.flatten(1))
            shared = mean_of_present(torch.stack(written, dim=1), present).view_as(tokens)
            tokens = torch.where(present.any(dim=1)[:, None, None], shared, tokens)
        logits: Tensor = self.head(self.norm(tokens.mean(dim=1)))
        return logits

    def _through(
        self, block: nn.Module, stream: Tensor, one: PaddedSequence, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One modality's frames and its version of the tokens, after one layer."""
        num = tokens.shape[1]
        mask = torch.cat([one.valid_mask.new_ones(len(stream), num), one.valid_mask], dim=1)
        out = block(torch.cat([tokens, stream], dim=1), mask)
        return zero_padding(out[:, num:], one.valid_mask), out[:, :num]
