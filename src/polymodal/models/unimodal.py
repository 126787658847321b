"""One modality to logits; over single vectors it is a multi-layer perceptron.

Legend: batch = utterances, output = classes or values to be predicted.
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from polymodal.errors import ConfigError
from polymodal.layers.feedforward import perceptron
from polymodal.layers.pooling import build_pooling
from polymodal.models.base import Model
from polymodal.schemas.batch import PaddedSequence


class UnimodalClassifier(Model):
    """Pooling over time, then a perceptron.

    A sequence of one frame (functionals, sentence vectors) passes every pooling unchanged, but
    `mean` and `first` have no parameters to train.

    `pooling` is `attention`, `mean` or `first`, over the real frames. `hidden_sizes` are the widths
    of the hidden layers, each with the `activation` `relu`, `gelu`, `silu` or `tanh`, `dropout`
    behind it and, with `layer_norm`, a normalisation before it; none makes the head linear.
    `input_dropout` is that of the pooled vector.

    Raises:
        ConfigError: There is not exactly one modality, or an option is unknown.

    Example:
        >>> import torch
        >>> model = UnimodalClassifier({"speech": 8}, 4, hidden_sizes=[16])
        >>> vectors = PaddedSequence(torch.zeros(2, 1, 8), torch.ones(2, 1, dtype=torch.bool))
        >>> model({"speech": vectors}).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        feature_sizes: Mapping[str, int],
        num_outputs: int,
        *,
        pooling: str = "attention",
        hidden_sizes: Sequence[int] = (),
        activation: str = "relu",
        layer_norm: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_sizes, num_outputs)
        if len(feature_sizes) != 1:
            raise ConfigError(
                f"a unimodal model was given the modalities {list(self.feature_sizes)}",
                expected="exactly one",
                hint="choose one encoder, or model=fusion/cross_attention",
            )
        ((self.modality, size),) = feature_sizes.items()
        self.pooling = build_pooling(pooling, size)
        self.input_dropout = nn.Dropout(input_dropout)
        self.head = perceptron(
            [size, *hidden_sizes, num_outputs],
            activation=activation,
            layer_norm=layer_norm,
            dropout=dropout,
        )

    def forward(self, modalities: Mapping[str, PaddedSequence]) -> Float[Tensor, "batch output"]:
        """Return the logits; those of the zero vector where the modality is absent."""
        pooled = self.pooling(modalities[self.modality])
        logits: Tensor = self.head(self.input_dropout(pooled))
        return logits
