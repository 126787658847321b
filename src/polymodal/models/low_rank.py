"""Deep fusion: products between the modalities, through a tensor of low rank.

Legend: batch = utterances, modality = in the order of their names, feature = width.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from polymodal.errors import ConfigError
from polymodal.models.fusion import Fused, PooledFusion, Present, Vectors


class LowRankFusion(PooledFusion):
    """Low-rank multimodal fusion, LMF (Liu et al., ACL 2018, arXiv 1806.00064).

    The outer product of all modalities (each with a 1 appended, so that products of fewer
    modalities take part as well) times a weight tensor that is the sum of `rank` products of one
    factor a modality: cost grows with the number of modalities, not with its power. For an absent
    modality its learned vector takes part.

    The options and errors are those of `PooledFusion`, and `rank`.

    Example:
        >>> LowRankFusion({"speech": 8, "text": 4}, 3, rank=2).num_outputs
        3
    """

    def __init__(
        self,
        feature_sizes: Mapping[str, int],
        num_outputs: int,
        *,
        width: int = 64,
        rank: int = 4,
        pooling: str = "attention",
        dropout: float = 0.1,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_sizes, num_outputs, width, pooling, dropout, modality_dropout)
        if rank < 1:
            raise ConfigError(f"rank {rank}", expected="at least 1")
        factors = torch.empty(len(self.feature_sizes), rank, width + 1, width)
        self.factors = nn.Parameter(nn.init.xavier_normal_(factors))
        self.weights = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, rank)))
        self.bias = nn.Parameter(torch.zeros(width))

    def combine(self, vectors: Vectors, present: Present) -> Fused:
        """Multiply the projections of all modalities, see `PooledFusion`."""
        extended = functional.pad(vectors, (0, 1), value=1.0)
        products = torch.einsum("bmi,mrio->bmro", extended, self.factors)
        return torch.einsum("or,bri->bi", self.weights, products.prod(dim=1)) + self.bias
