"""Layers that see one frame or one vector at a time.

Legend: feature = width; leading dimensions are free.
"""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from polymodal.errors import ConfigError, nearest

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class FeedForward(nn.Module):
    """The pre-norm feed-forward sublayer of a transformer block, without its residual."""

    def __init__(self, width: int, expansion: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(expansion * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, values: Float[Tensor, "*other feature"]) -> Float[Tensor, "*other feature"]:
        """Return what is added to the stream."""
        output: Tensor = self.layers(values)
        return output


def perceptron(
    sizes: Sequence[int],
    *,
    activation: str = "relu",
    layer_norm: bool = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Return linear layers with an activation between them, none after the last.

    `sizes` are the widths of the input, of the hidden layers and of the output. With `layer_norm`
    each hidden layer is normalised before its activation. There is no batch norm on purpose: a
    result may not depend on the rest of the batch. `dropout` is that after each activation.

    Raises:
        ConfigError: The activation is unknown, or a width is not positive.

    Example:
        >>> [type(layer).__name__ for layer in perceptron([8, 4, 2])]
        ['Linear', 'ReLU', 'Linear']
    """
    if activation not in ACTIVATIONS:
        raise ConfigError(
            f"activation {activation!r} is unknown",
            expected=f"one of {sorted(ACTIVATIONS)}",
            hint=nearest(activation, ACTIVATIONS),
        )
    if min(sizes) < 1:
        raise ConfigError(f"layer widths {list(sizes)}", expected="whole numbers above 0")
    layers: list[nn.Module] = []
    for inner, outer in pairwise(sizes[:-1]):
        layers += [nn.Linear(inner, outer)]
        layers += [nn.LayerNorm(outer)] if layer_norm else []
        layers += [ACTIVATIONS[activation]()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
