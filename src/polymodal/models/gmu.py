"""Deep fusion: each utterance weighs its modalities by gates that it computes itself.

Legend: batch = utterances, modality = in the order of their names, feature = width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from polymodal.models.fusion import Fused, PooledFusion, Present, Vectors


class GatedFusion(PooledFusion):
    """Gated multimodal units for any number of modalities (Arevalo et al. 2017, arXiv 1702.01992).

    Each coordinate of the fused vector is a mean of the modalities' coordinates; its weights are a
    softmax over the modalities that are present, computed from all of them.

    The options and errors are those of `PooledFusion`.

    Example:
        >>> GatedFusion({"speech": 8, "text": 4}, 3).num_outputs
        3
    """

    def __init__(
        self,
        feature_sizes: Mapping[str, int],
        num_outputs: int,
        *,
        width: int = 64,
        pooling: str = "attention",
        dropout: float = 0.1,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_sizes, num_outputs, width, pooling, dropout, modality_dropout)
        num = len(self.feature_sizes)
        self.values = nn.ModuleList(nn.Linear(width, width) for _ in range(num))
        self.gates = nn.Linear(num * width, num * width)

    def combine(self, vectors: Vectors, present: Present) -> Fused:
        """Weigh the vectors coordinate by coordinate, see `PooledFusion`."""
        values = [torch.tanh(layer(vectors[:, index])) for index, layer in enumerate(self.values)]
        admitted = present | ~present.any(dim=1, keepdim=True)
        scores = self.gates(vectors.flatten(1)).view_as(vectors).float()
        weights = scores.masked_fill(~admitted[..., None], float("-inf")).softmax(dim=1)
        fused: Tensor = (weights.to(vectors.dtype) * torch.stack(values, dim=1)).sum(dim=1)
        return fused
