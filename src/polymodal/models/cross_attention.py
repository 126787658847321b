"""Deep fusion: every modality attends to every other.

Legend: batch = utterances, time = frames, modality = in the order of their names, output =
classes or values to be predicted.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polymodal.layers.attention import CrossAttentionBlock, SelfAttentionBlock
from polymodal.layers.pooling import build_pooling
from polymodal.models.fusion import Fusion, mean_of_present
from polymodal.schemas.batch import PaddedSequence


class CrossAttentionFusion(Fusion):
    """Cross-attention between any number of modalities, one included.

    After MulT (Tsai et al. 2019, arXiv 1906.00295). In every layer the stream of each modality
    attends to each other modality that is present, then to itself. Keys and values are the
    projected *input* of the other modality in all layers: a stream never attends to what is fused
    already, so the order of the modalities has no effect. Each stream is pooled, and the mean over
    the modalities that are present is classified; an absent one has no influence at all.

    The options and errors are those of `PooledFusion`, and `num_layers` and `num_heads`; `dropout`
    is that of all layers.

    Example:
        >>> model = CrossAttentionFusion({"text": 8, "speech": 4}, 3, width=16)
        >>> mask = torch.ones(2, 5, dtype=torch.bool)
        >>> model({"text": PaddedSequence(torch.zeros(2, 5, 8), mask)}).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        feature_sizes: Mapping[str, int],
        num_outputs: int,
        *,
        width: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.1,
        pooling: str = "attention",
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_sizes, num_outputs, width, modality_dropout)
        names = list(self.feature_sizes)
        self.layers = nn.ModuleList(
            _FusionLayer(names, width, num_heads, dropout) for _ in range(num_layers)
        )
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in names})
        self.poolings = nn.ModuleDict({name: build_pooling(pooling, width) for name in names})
        self.summaries = nn.ModuleDict({name: nn.Linear(width, width) for name in names})
        self.head = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(width, num_outputs))

    def forward(self, modalities: Mapping[str, PaddedSequence]) -> Float[Tensor, "batch output"]:
        """Return the logits, `[batch, output]`; a fixed row where nothing is present."""
        inputs = self.projected(modalities)
        streams = {name: sequence.values for name, sequence in inputs.items()}
        for layer in self.layers:
            streams = layer(streams, inputs)
        summaries, present = [], []
        for name, stream in streams.items():
            mask = inputs[name].valid_mask
            pooled = self.poolings[name](PaddedSequence(self.norms[name](stream), mask))
            summaries.append(self.summaries[name](pooled))
            present.append(mask.any(dim=1))
        fused = mean_of_present(torch.stack(summaries, dim=1), torch.stack(present, dim=1))
        logits: Tensor = self.head(fused)
        return logits


class _FusionLayer(nn.Module):
    """All streams attend to the inputs of the other modalities, then each to itself."""

    def __init__(self, names: list[str], width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        sizes = (width, num_heads, dropout)
        crosses = {name: CrossAttentionBlock({*names} - {name}, *sizes) for name in names}
        self.crosses = nn.ModuleDict(crosses)
        self.selves = nn.ModuleDict({name: SelfAttentionBlock(*sizes) for name in names})

    def forward(
        self, streams: Mapping[str, Tensor], inputs: Mapping[str, PaddedSequence]
    ) -> dict[str, Tensor]:
        updated = {}
        for name, stream in streams.items():
            mask = inputs[name].valid_mask
            crossed = self.crosses[name](stream, mask, inputs)
            updated[name] = self.selves[name](crossed, mask)
        return updated
