"""A pretrained transformer: the layer that is read, freezing, adapters.

Legend: batch = utterances, time = frames or tokens, feature = width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.encoders.extractor import package_version
from polymodal.encoders.huggingface.checkpoint import EXTRA, Checkpoint, Family, load
from polymodal.encoders.huggingface.prefix import (
    STEM,
    Attended,
    States,
    block_inputs,
    frozen_depth,
    run_blocks,
    run_until,
)
from polymodal.errors import ConfigError, nearest

LAYERS = ("last", "weighted")


class Backbone(nn.Module):
    """A pretrained transformer: which layer is read, and what of it is trained.

    The frozen prefix (all modules from the input up to the first that is trained) runs without
    dropout in training, too.

    Args:
        checkpoint: Its files.
        family: Its architecture.
        stem: Name of the first step of freezing.
        layer: `last` = output of the last block with the normalisation behind it; a number N = of
            the N-th block, without that, and the blocks above are left out; `weighted` = a learned
            mean of the first block's input and of all blocks.
        freeze: `none`; the value of `stem`; a number N = all before the blocks and the first N
            blocks; `all`.
        lora: Options of peft's `LoraConfig`; only the adapters are trained then.
        gradient_checkpointing: Whether activations are computed again in the backward pass.
        layer_decay: Factor of the learning rates: the rate of the last block is this factor times
            that of the head, the rate of each block below this factor times that of the block
            above, and all before the blocks have it once more (Howard & Ruder 2018, arXiv
            1801.06146; Clark et al. 2020, arXiv 2003.10555). None for one rate.
        options: Changes of the model's configuration.

    Raises:
        ConfigError: `layer`, `freeze`, `lora` or `layer_decay` cannot be used with this model.
        CheckpointError: The weights cannot be loaded.
        MissingExtraError: peft is not installed.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        family: Family,
        *,
        stem: str,
        layer: str | int,
        freeze: str | int,
        lora: Mapping[str, Any] | None,
        gradient_checkpointing: bool,
        layer_decay: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.model = load(checkpoint, family, **options)
        self.mixture: LayerMixture | None = None
        blocks = self.model.get_submodule(family.blocks)
        # The families of wav2vec 2.0 normalise behind the blocks only in their large versions.
        has_norm = getattr(self.model.config, "do_stable_layer_norm", True)
        norm = family.final_norm if has_norm else ""
        check_layer(layer, len(blocks))
        if layer == "weighted":
            self.mixture = LayerMixture(len(blocks) + 1)
        elif isinstance(layer, int):
            del blocks[layer:]
            if norm:  # it belongs to the last block
                self.model.set_submodule(norm, nn.Identity())
        self.frozen = lora is None and freeze == "all"  # whether nothing of the model is trained
        _check_layer_decay(layer_decay, self.frozen)
        self.layer_decay, self._blocks, self._norm = layer_decay, family.blocks, norm
        _freeze(self.model, family, norm, freeze, stem)
        if lora is not None:
            _add_adapters(self.model, family, lora, freeze, stem)
        if gradient_checkpointing:
            _recompute_activations(self.model, self.frozen)
        self.stem, self.is_plain = family.stem, family.plain
        self.frozen_depth = frozen_depth(
            self.model, blocks=self.blocks, stem=family.stem, norm=self._final_norm
        )
        self.train()  # transformers returns models in evaluation mode

    def forward(self, **inputs: Any) -> States:
        """Return the requested layer for the inputs of the model's own `forward`."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            output = self.model(**inputs, output_hidden_states=self.mixture is not None)
        last: Tensor = output.last_hidden_state
        return last if self.mixture is None else self.mixture([*output.hidden_states[:-1], last])

    @property
    def blocks(self) -> Any:
        """The transformer blocks that are used."""
        return self.model.get_submodule(self._blocks)

    @property
    def prefix_depth(self) -> int | None:
        """Where the frozen prefix ends that the model can continue from; None without one."""
        depth = self.frozen_depth
        if depth is None or depth == STEM:
            return depth
        if self.mixture is not None:  # it also reads the input of the first block
            depth = 0
        return depth if self.is_plain or depth == len(self.blocks) else STEM

    def describe_prefix(self, depth: int | None, layer: str | int) -> str:
        """Describe where a frozen prefix ends; equal descriptions mean equal vectors."""
        if depth == len(self.blocks):
            return f"the whole model, layer {layer}"
        return "all before the blocks" + (f" and the first {depth}" if depth else "")

    def forward_prefix(self, depth: int, **inputs: Any) -> States:
        """Return the output of the frozen prefix for the inputs of the model's own `forward`."""
        return run_until(depth, self.model, blocks=self.blocks, stem=self.stem[-1], **inputs)

    def forward_suffix(self, depth: int, states: States, attended: Attended) -> States:
        """Return the requested layer for the output of the frozen prefix."""
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen),
            block_inputs(self.blocks if self.mixture is not None else ()) as seen,
        ):
            if depth == STEM:
                transformer = self.model.get_submodule(self._blocks.rpartition(".")[0])
                last: Tensor = transformer(states, attention_mask=attended).last_hidden_state
            else:
                last = run_blocks(
                    states,
                    attended,
                    blocks=self.blocks[depth:],
                    norm=self._final_norm,
                    config=self.model.config,
                )
        return last if self.mixture is None else self.mixture([*seen, last])

    def learning_rate_scales(self) -> dict[nn.Parameter, float]:
        """Return the factors that `layer_decay` gives to learning rates; empty without it.

        The weights of a mean of layers are left out, which means the factor 1.
        """
        if self.layer_decay is None:
            return {}
        blocks = self.blocks
        below = self.layer_decay ** (len(blocks) + 1)
        scales = dict.fromkeys(self.model.parameters(), below)
        if self._norm:  # it belongs to the last block
            norm = self.model.get_submodule(self._norm)
            scales |= dict.fromkeys(norm.parameters(), self.layer_decay)
        for number, block in enumerate(blocks):
            factor = self.layer_decay ** (len(blocks) - number)
            scales |= dict.fromkeys(block.parameters(), factor)
        return scales

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode; the frozen prefix stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        elif mode and self.frozen_depth == STEM:
            for path in self.stem:
                self.model.get_submodule(path).eval()
        elif mode and self.frozen_depth is not None:
            self.model.eval()
            for module in [*self.blocks[self.frozen_depth :], self._final_norm]:
                if module is not None:
                    module.train()
        return self

    @property
    def _final_norm(self) -> nn.Module | None:
        return self.model.get_submodule(self._norm) if self._norm else None


class LayerMixture(nn.Module):
    """A weighted mean of layers; the weights are learned and sum to 1.

    Peters et al. 2018 (arXiv 1802.05365); for speech Yang et al. 2021 (arXiv 2105.01051).

    Example:
        >>> LayerMixture(2)([torch.zeros(1, 1, 1), torch.full((1, 1, 1), 4.0)]).item()
        2.0
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_layers))

    def forward(self, layers: Sequence[States]) -> States:
        """Return the weighted mean of layers of the same shape."""
        mixed = torch.zeros_like(layers[0])
        for weight, layer in zip(self.logits.softmax(dim=0), layers, strict=True):
            mixed = mixed + weight * layer
        return mixed


def check_layer(layer: str | int, num_blocks: int) -> None:
    """Check that a model with `num_blocks` blocks has the layer `last`, `weighted` or a number.

    Raises:
        ConfigError: It does not.
    """
    if layer in LAYERS or (_is_number(layer) and 1 <= int(layer) <= num_blocks):
        return
    raise ConfigError(
        f"layer={layer!r}",
        expected=f"{' or '.join(LAYERS)}, or a number from 1 to {num_blocks} (0 would be the input "
        "of the first block)",
        hint="" if _is_number(layer) else nearest(str(layer), LAYERS),
    )


def _check_layer_decay(layer_decay: float | None, frozen: bool) -> None:
    if layer_decay is not None and (frozen or not 0 < layer_decay <= 1):
        raise ConfigError(
            f"layer_decay={layer_decay}" + (" with freeze=all" if frozen else ""),
            expected="null, or a number above 0 and at most 1, and blocks that are trained",
        )


def _freeze(model: Any, family: Family, norm: str, freeze: str | int, stem: str) -> None:
    blocks = model.get_submodule(family.blocks)
    names = ("none", stem, "all")
    if freeze not in names and not (_is_number(freeze) and 0 <= int(freeze) < len(blocks)):
        raise ConfigError(
            f"freeze={freeze!r}",
            expected=f"{', '.join(names)}, or a number of blocks from 0 to {len(blocks) - 1}",
            hint="" if _is_number(freeze) else nearest(str(freeze), names),
        )
    if isinstance(freeze, int) or freeze == "all":
        model.requires_grad_(False)
    if isinstance(freeze, int):
        for module in [blocks[freeze:], *([model.get_submodule(norm)] if norm else [])]:
            module.requires_grad_(True)
    if freeze != "none":
        _freeze_stem(model, family)


def _freeze_stem(model: Any, family: Family) -> None:
    for path in family.stem:
        module = model.get_submodule(path)
        module.requires_grad_(False)
        if hasattr(module, "_requires_grad"):  # otherwise its input gets a gradient in training
            module._requires_grad = False


def _add_adapters(
    model: Any, family: Family, lora: Mapping[str, Any], freeze: str | int, stem: str
) -> None:
    """Add adapters of low rank (Hu et al. 2021, arXiv 2106.09685) to frozen weights."""
    if freeze not in ("none", stem):
        raise ConfigError(
            f"freeze={freeze!r} with lora",
            expected="lora alone: it freezes all weights, and trains its adapters",
            hint=f"leave out freeze; lora.layers_to_transform chooses the blocks (freeze={stem})",
        )
    package_version("peft", EXTRA)
    from peft import LoraConfig, inject_adapter_in_model

    options: dict[str, Any] = {"target_modules": list(family.adapted), **lora}
    try:
        inject_adapter_in_model(LoraConfig(**options), model)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"lora={dict(lora)}: {error}",
            expected="options of peft's LoraConfig, such as r, lora_alpha, lora_dropout",
        ) from None
    past = [
        name.removesuffix(".lora_A")
        for name, _ in model.named_modules()
        if name.endswith("lora_A") and family.past_adapters and family.past_adapters in name
    ]
    if past:
        raise ConfigError(
            f"lora.target_modules={lora['target_modules']}: {family.model} reads the weights of "
            f"{past[0]} past an adapter, which would have no effect",
            hint=f"use {', '.join(family.adapted)}",
        )
    _freeze_stem(model, family)


def _recompute_activations(model: Any, frozen: bool) -> None:
    if frozen:
        raise ConfigError(
            "gradient_checkpointing=true with freeze=all",
            expected="something to train; a frozen model keeps no activations anyway",
            hint="leave out gradient_checkpointing",
        )
    # The older name warns from transformers 5.23 on, which has the newer one.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


def _is_number(value: str | int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
