"""Deep fusion: a few latent vectors attend to all frames of all modalities.

Legend: batch = utterances, time = frames, feature = width, output = classes or values.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polymodal.errors import ConfigError
from polymodal.layers.attention import MultiHeadAttention, SelfAttentionBlock, relative_positions
from polymodal.layers.masks import zero_padding
from polymodal.models.fusion import Fusion
from polymodal.schemas.batch import PaddedSequence


class PerceiverFusion(Fusion):
    """Latents that attend to the frames of all modalities at once (Jaegle et al. 2021, 2103.03206).

    A learned vector a modality is added to its frames, and rotary positions relative to the
    utterance give their order; cost grows with the total number of frames times `num_latents`.

    The options and errors are those of `Fusion`, and `num_layers` (each reads the frames, then
    attends among the latents), `num_heads`, `num_latents`, and the `dropout` in all layers and
    before the output.

    Example:
        >>> PerceiverFusion({"speech": 8, "text": 4}, 3, num_latents=2).num_outputs
        3
    """

    ROTARY_BASE = 100.0

    def __init__(
        self,
        feature_sizes: Mapping[str, int],
        num_outputs: int,
        *,
        width: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        num_latents: int = 8,
        dropout: float = 0.1,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(feature_sizes, num_outputs, width, modality_dropout)
        if num_latents < 1:
            raise ConfigError(f"num_latents {num_latents}", expected="at least 1")
        self.latents = nn.Parameter(torch.randn(num_latents, width) * 0.02)
        self.kinds = nn.Parameter(torch.randn(len(self.feature_sizes), width) * 0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_layers))
        self.source_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_layers))
        self.readings = nn.ModuleList(
            MultiHeadAttention(width, num_heads) for _ in range(num_layers)
        )
        self.blocks = nn.ModuleList(
            SelfAttentionBlock(width, num_heads, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_outputs))

    def forward(self, modalities: Mapping[str, PaddedSequence]) -> Float[Tensor, "batch output"]:
        """Return the logits, `[batch, output]`; a fixed row where nothing is present."""
        inputs = list(self.projected(modalities).values())
        kinds = zip(inputs, self.kinds, strict=True)
        frames = [zero_padding(item.values + kind, item.valid_mask) for item, kind in kinds]
        mask = torch.cat([item.valid_mask for item in inputs], dim=1)
        positions = torch.cat([relative_positions(item.valid_mask) for item in inputs], dim=1)
        stream = torch.cat(frames, dim=1)
        latents = self.latents.expand(len(mask), -1, -1)
        latent_mask = mask.new_ones(latents.shape[:2])
        # The latents are spread evenly over the utterance.
        latent_positions = relative_positions(latent_mask)
        for norm, source_norm, reading, block in zip(
            self.norms, self.source_norms, self.readings, self.blocks, strict=True
        ):
            keys = source_norm(stream)
            read = reading(norm(latents), keys, mask, latent_positions, positions, self.ROTARY_BASE)
            latents = block(latents + read, latent_mask)
        logits: Tensor = self.head(self.norm(latents.mean(dim=1)))
        return logits
