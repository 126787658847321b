"""Deep fusion: perceptrons that mix across modalities and across features in turn.

Legend: batch = utterances, modality = in the order of their names, feature = width.
"""

from collections.abc import Mapping

from torch import nn

from polymodal.layers.feedforward import FeedForward
from polymodal.models.fusion import Fused, PooledFusion, Present, Vectors, mean_of_present


class MixerFusion(PooledFusion):
    """MLP-Mixer over one token a modality (Tolstikhin et al. 2021, arXiv 2105.01601).

    The options and errors are those of `PooledFusion`, and `num_layers`, the number of pairs of
    mixings, and `expansion`, the hidden width of each mixing in multiples of its width.

    Example:
        >>> MixerFusion({"speech": 8, "text": 4}, 3).num_outputs
        3
    """

    def __init__(
        self,
        feature_sizes: Mapping[str, int],
        num_outputs: int,
        *,
        width: int = 64,
        num_layers: int = 2,
        expansion: int = 2,
        dropout: float = 0.1,
        pooling: str = "attention",
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_sizes, num_outputs, width, pooling, dropout, modality_dropout)
        num = len(self.feature_sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_layers))
        self.across = nn.ModuleList(
            nn.Sequential(
                nn.Linear(num, 4 * expansion * num), nn.GELU(), nn.Linear(4 * expansion * num, num)
            )
            for _ in range(num_layers)
        )
        self.within = nn.ModuleList(
            FeedForward(width, expansion, dropout) for _ in range(num_layers)
        )

    def combine(self, vectors: Vectors, present: Present) -> Fused:
        """Mix the tokens and average the present ones, see `PooledFusion`."""
        tokens = vectors
        for norm, across, within in zip(self.norms, self.across, self.within, strict=True):
            tokens = tokens + across(norm(tokens).transpose(1, 2)).transpose(1, 2)
            tokens = tokens + within(tokens)
        return mean_of_present(tokens, present)
