"""Pretrained transformers of the Hugging Face hub: what speech and text have in common.

Weights are read from safetensors only, and no code of a repository is ever run: whatever is
downloaded is looked at as data.

Legend: batch = utterances, time = frames or tokens, feature = width.
"""

import functools
import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from polymodal.encoders.extractor import POOLINGS, package_version
from polymodal.encoders.huggingface.prefix import (
    STEM,
    block_inputs,
    frozen_depth,
    run_blocks,
    run_until,
)
from polymodal.errors import CheckpointError, ConfigError, nearest
from polymodal.security.files import sha256_of

EXTRA = "pretrained"
# All that is downloaded, and all that identifies a checkpoint: never pickles, never Python.
DESCRIPTIONS = ("*.json", "*.txt", "*.model")
WEIGHTS = ("model.safetensors", "model-*.safetensors")
FILES = (*DESCRIPTIONS, *WEIGHTS)
# What `polymodal encoder convert` reads, and the note that it leaves beside what it writes.
PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model-*.bin")
CONVERTED = "converted.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
# Only training with hidden frames reads it, and many checkpoints were stored without it.
HIDDEN_FRAME = "masked_spec_embed"
LAYERS = ("last", "weighted")
# Whether models are built from their configuration alone, as their weights come from a checkpoint.
_without_weights: ContextVar[bool] = ContextVar("without_weights", default=False)
_weights_may_follow: ContextVar[bool] = ContextVar("weights_may_follow", default=False)


@contextmanager
def without_weights() -> Generator[None]:
    """Build pretrained encoders from the files beside their weights, with random weights.

    For whoever loads the weights of a checkpoint afterwards: the pretrained ones are neither
    needed nor read.
    """
    token = _without_weights.set(True)
    try:
        yield
    finally:
        _without_weights.reset(token)


@dataclass(frozen=True)
class Family:
    """What differs between the architectures.

    Args:
        model: Name of the class in transformers.
        blocks: Where its transformer blocks are.
        stem: What is before them, and is frozen by the first step of freezing.
        final_norm: Where the normalisation behind the last block is; empty where there is none.
        encoder: Name of the part that is kept; empty for the whole model.
        adapted: What LoRA adapts unless told otherwise.
        past_adapters: Modules with this in their name read weights without calling the layer that
            holds them, so that an adapter there would do nothing.
        attention: Implementation of the attention.
        plain: Whether a block needs nothing but its input and the mask, so that the model can go on
            from there.
        options: Options of the model's constructor.
    """

    model: str
    blocks: str
    stem: tuple[str, ...]
    adapted: tuple[str, ...]
    final_norm: str = ""
    encoder: str = ""
    past_adapters: str = ""
    attention: str = "sdpa"
    plain: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a pretrained model.

    Args:
        folder: The folder, be it the user's or one of the hub's cache.
        commit: The commit of the hub's repository; None for a folder of the user.
    """

    folder: Path
    commit: str | None = None

    @property
    def has_weights(self) -> bool:
        """Whether weights lie beside the configuration."""
        return any(True for one in WEIGHTS for _ in self.folder.glob(one))

    @property
    def model_type(self) -> str:
        """The architecture, as `config.json` names it."""
        try:
            config = json.loads((self.folder / "config.json").read_text("utf-8"))
            return str(config.get("model_type"))
        except (ValueError, AttributeError) as error:
            raise CheckpointError(
                f"config.json of {self.folder} cannot be read: {error}", hint="get the files anew"
            ) from None

    @property
    def state(self) -> tuple[tuple[str, int, int], ...]:
        """Name, size and time of change of each file: another state is another model."""
        paths = sorted({path for pattern in FILES for path in self.folder.glob(pattern)})
        states = [(path.name, path.stat()) for path in paths if path.name != CONVERTED]
        return tuple((name, one.st_size, one.st_mtime_ns) for name, one in states)

    @property
    def digest(self) -> str:
        """SHA-256 over weights, configuration and tokenizer: 64 hexadecimal digits."""
        lines = [
            f"{name} {_file_digest(self.folder / name, size, changed_ns)}\n"
            for name, size, changed_ns in self.state
        ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def revision(self) -> str:
        """The commit of the hub, or `sha256:` and the digest of a folder."""
        return self.commit or f"sha256:{self.digest}"

    def copy_description(self, folder: Path) -> None:
        """Copy all but the weights: configuration, tokenizer and feature extractor.

        Args:
            folder: Where to; made where it is missing.

        Raises:
            OSError: A file cannot be read or written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(path for one in DESCRIPTIONS for path in self.folder.glob(one)):
            if path.name != CONVERTED and not path.name.endswith(".index.json"):  # of the weights
                copyfile(path, folder / path.name)

    def family(self, families: Mapping[str, Family]) -> Family:
        """Returns what is known of its architecture.

        Args:
            families: Architecture to what is known of it.

        Returns:
            The entry.

        Raises:
            ConfigError: The architecture is not among them.
        """
        if self.model_type not in families:
            raise ConfigError(
                f"{self.folder} holds a model of the type {self.model_type!r}",
                expected=f"one of {', '.join(families)}",
                hint="choose another model, or the encoder of the other modality",
            )
        return families[self.model_type]


@contextmanager
def weights_may_follow() -> Generator[None]:
    """Build pretrained encoders whose folder has no weights from the files that it has.

    For whoever applies a run: its checkpoint holds the weights. Where a folder has weights, they
    are read and checked as ever.
    """
    token = _weights_may_follow.set(True)
    try:
        yield
    finally:
        _weights_may_follow.reset(token)


def locate(name: str, revision: str | None = None) -> Checkpoint:
    """Finds a model, and downloads it where it has to.

    Args:
        name: A folder as `save_pretrained` writes it, or a name of the hub such as
            `klue/roberta-base`.
        revision: Commit, tag or branch of the hub; None is its newest state, whose commit is
            looked up and kept.

    Returns:
        Where it is, and which commit.

    Raises:
        ConfigError: There is no such folder, the hub cannot give it, or a folder has a revision.
        CheckpointError: The folder has no configuration, or no weights as safetensors.
        MissingExtraError: transformers is not installed.
    """
    package_version("transformers", EXTRA)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return _readable(download(name, revision), name)
    if revision is not None:
        raise ConfigError(
            f"name={name} is a folder, and revision={revision}",
            expected="a revision for names of the hub only",
            hint="leave out revision; the digest of the folder is recorded",
        )
    return _readable(Checkpoint(folder.resolve()), name)


def download(name: str, revision: str | None = None, patterns: Sequence[str] = FILES) -> Checkpoint:
    """Gets files of the hub, or finds them in its cache.

    Args:
        name: A name of the hub.
        revision: Commit, tag or branch.
        patterns: Which files.

    Returns:
        Where they are, and which commit.

    Raises:
        ConfigError: The hub cannot give them.
    """
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(name, revision=revision, allow_patterns=list(patterns))
    except Exception as error:  # its own, and those of whichever HTTP library it uses
        at = f" at revision {revision}" if revision else ""
        option = f" --revision {revision}" if revision else ""
        wanted = " ".join(f"--include '{one}'" for one in patterns)
        raise ConfigError(
            f"{name}{at} is no folder here, and the hub did not give it: {first_line(error)}",
            expected="a folder, or a name of the hub that can be reached or is in its cache",
            hint="download it where there is a network, and set name to the folder:\n"
            f"    hf download {name}{option} {wanted} --local-dir FOLDER",
        ) from None
    return Checkpoint(Path(found), commit=Path(found).name)  # the cache names folders by commit


def load(checkpoint: Checkpoint, family: Family, **options: Any) -> Any:
    """Loads the weights as float32.

    Args:
        checkpoint: Where they are.
        family: The architecture.
        options: What changes in the configuration.

    Returns:
        The model of transformers, or its encoder.

    Raises:
        CheckpointError: The weights are damaged, or lack a part of the model, which would stay
            random.
    """
    import transformers  # here, as it is optional

    if _without_weights.get() or (_weights_may_follow.get() and not checkpoint.has_weights):
        return _from_description(checkpoint, family, options)
    try:
        with _quietly():
            model, report = getattr(transformers, family.model).from_pretrained(
                checkpoint.folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,  # the default is what the file has, half precision included
                attn_implementation=family.attention,
                output_loading_info=True,
                **family.options,
                **options,
            )
    except Exception as error:  # transformers and safetensors raise a dozen different ones
        raise CheckpointError(
            f"{checkpoint.folder} cannot be loaded: {error}", hint="get the files anew"
        ) from error
    missing = sorted(set(report["missing_keys"]) - {HIDDEN_FRAME})
    if missing:
        raise CheckpointError(
            f"{checkpoint.folder} lacks weights of {len(missing)} parameters, such as {missing[0]}",
            expected=f"all weights of {family.model}",
            hint="use the folder or repository of the model that config.json describes",
        )
    if report["missing_keys"]:
        nn.init.zeros_(model.masked_spec_embed)
    return getattr(model, family.encoder) if family.encoder else model


def _from_description(checkpoint: Checkpoint, family: Family, options: Mapping[str, Any]) -> Any:
    """The model with random weights, all options as `load` has them."""
    import transformers

    config, unused = transformers.AutoConfig.from_pretrained(
        checkpoint.folder,
        local_files_only=True,
        trust_remote_code=False,
        return_unused_kwargs=True,
        **family.options,
        **options,
    )
    config.dtype = torch.float32
    auto: Any = transformers.AutoModel
    model = auto.from_config(config, attn_implementation=family.attention, **unused)
    return getattr(model, family.encoder) if family.encoder else model


class Backbone(nn.Module):
    """A pretrained transformer: which layer is read, and what of it is trained.

    What is frozen without a gap from its input on runs without dropout in training, too.

    Args:
        checkpoint: Where it is.
        family: Its architecture.
        stem: What the first step of freezing is called.
        layer: `last` = output of the last block with the normalisation behind it; a number N = of
            the N-th block, without that, and the blocks above are left out; `weighted` = a learned
            mean of the first block's input and of all blocks.
        freeze: `none`; the word of `stem`; a number N = all before the blocks and the first N
            blocks; `all`.
        lora: Options of peft's `LoraConfig`; nothing but the adapters is trained then. None = no
            adapters.
        gradient_checkpointing: Whether activations are computed again in the backward pass, which
            saves memory and costs time.
        layer_decay: Factor of the learning rates: the last block learns by it times the rate of
            the head, each block below by it times the rate of the one above, and all before the
            blocks by it once more (Howard & Ruder 2018, arXiv 1801.06146; Clark et al. 2020, arXiv
            2003.10555). None for one rate.
        options: What changes in the configuration of the model.

    Attributes:
        frozen: Whether nothing of the model is trained.
        frozen_depth: How far it is frozen without a gap (see `pretrained_prefix.frozen_depth`).

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
        norm = family.final_norm if _has_final_norm(self.model.config) else ""
        _check_layer(layer, len(blocks))
        if layer == "weighted":
            self.mixture = LayerMixture(len(blocks) + 1)
        elif isinstance(layer, int):
            del blocks[layer:]
            if norm:  # it belongs to the last block
                self.model.set_submodule(norm, nn.Identity())
        self.frozen = lora is None and freeze == "all"
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
        self.train()  # transformers hands out models without dropout

    def forward(self, **inputs: Any) -> Float[Tensor, "batch time feature"]:
        """Returns the layer that was asked for.

        Args:
            inputs: What the model's own `forward` takes.

        Returns:
            `[batch, time, feature]`.
        """
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
        """Where the frozen beginning ends that the model can go on from; None without one."""
        depth = self.frozen_depth
        if depth is None or depth == STEM:
            return depth
        if self.mixture is not None:  # it reads what goes into the first block, too
            depth = 0
        return depth if self.is_plain or depth == len(self.blocks) else STEM

    def prefix_words(self, depth: int | None, layer: str | int) -> str:
        """Says where a frozen beginning ends, so that equal words mean equal vectors.

        Args:
            depth: Where it ends.
            layer: The layer that is read.
        """
        if depth == len(self.blocks):
            return f"the whole model, layer {layer}"
        return "all before the blocks" + (f" and the first {depth}" if depth else "")

    def forward_prefix(self, depth: int, **inputs: Any) -> Float[Tensor, "batch time feature"]:
        """Returns what the frozen beginning puts out.

        Args:
            depth: Where it ends.
            inputs: What the model's own `forward` takes.

        Returns:
            `[batch, time, feature]`.
        """
        return run_until(depth, self.model, blocks=self.blocks, stem=self.stem[-1], **inputs)

    def forward_suffix(
        self,
        depth: int,
        states: Float[Tensor, "batch time feature"],
        attended: Bool[Tensor, "batch time"],
    ) -> Float[Tensor, "batch time feature"]:
        """Goes on from the frozen beginning to the layer that was asked for.

        Args:
            depth: Where the beginning ends. Of `STEM`, the input of the transformer is expected.
            states: What it put out.
            attended: Which frames are attended to, at least one in each row.

        Returns:
            `[batch, time, feature]`.
        """
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
        """Returns what `layer_decay` multiplies the learning rates of the model by.

        Returns:
            Parameter to factor; empty without it. The weights of a mean of layers have the
            factor 1.
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
        """Sets the mode; what is frozen from the input on keeps its dropout off."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        elif mode and self.frozen_depth == STEM:
            for path in self.stem:
                self.model.get_submodule(path).eval()
        elif mode and self.frozen_depth is not None:
            self.model.eval()
            for trained in [*self.blocks[self.frozen_depth :], self._final_norm]:
                if trained is not None:
                    trained.train()
        return self

    @property
    def _final_norm(self) -> nn.Module | None:
        return self.model.get_submodule(self._norm) if self._norm else None


class LayerMixture(nn.Module):
    """A mean of layers whose weights are learned, and sum to 1.

    Peters et al. 2018 (arXiv 1802.05365); for speech Yang et al. 2021 (arXiv 2105.01051).

    Args:
        num_layers: Number of layers.

    Example:
        >>> LayerMixture(2)([torch.zeros(1, 1, 1), torch.full((1, 1, 1), 4.0)]).item()
        2.0
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_layers))

    def forward(
        self, layers: Sequence[Float[Tensor, "batch time feature"]]
    ) -> Float[Tensor, "batch time feature"]:
        """Returns the weighted mean.

        Args:
            layers: Each `[batch, time, feature]`.

        Returns:
            The same shape.
        """
        mixed = torch.zeros_like(layers[0])
        for weight, layer in zip(self.logits.softmax(dim=0), layers, strict=True):
            mixed = mixed + weight * layer
        return mixed


def check_frozen(layer: str | int, pooling: str, num_blocks: int) -> None:
    """Refuses what only a trained model could do, a block that is not there, an unknown pooling.

    Args:
        layer: What is read.
        pooling: What is done with its vectors.
        num_blocks: Number of blocks of the model.

    Raises:
        ConfigError: The layer is `weighted` or not there, or the pooling is unknown.
    """
    _check_layer(layer, num_blocks)
    if layer == "weighted":
        raise ConfigError(
            "layer=weighted for stored vectors",
            expected="last or a number: the weights of a mean would be learned",
            hint="use the encoder that is trained with freeze=all and layer=weighted",
        )
    if pooling not in POOLINGS:
        raise ConfigError(f"pooling is {pooling!r}", hint=nearest(pooling, POOLINGS))


def first_line(error: Exception) -> str:
    """Returns what an error of another library says, without its advice.

    Args:
        error: The error.

    Returns:
        The first line of its message, or the name of its class where it has none.

    Example:
        >>> first_line(OSError("no such file")), first_line(TimeoutError())
        ('no such file', 'TimeoutError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _readable(checkpoint: Checkpoint, name: str) -> Checkpoint:
    def found(patterns: Sequence[str]) -> list[str]:
        return sorted(path.name for one in patterns for path in checkpoint.folder.glob(one))

    if not found(["config.json"]) or found(["adapter_config.json"]):
        raise CheckpointError(
            f"{name} has no config.json, or is an adapter of another model",
            expected="a whole model, as save_pretrained writes it",
            hint="merge an adapter into its model, and name that folder",
        )
    if not (found(WEIGHTS) or _without_weights.get() or _weights_may_follow.get()):
        pickled = ", ".join(found(PICKLES)) or "none"
        raise CheckpointError(
            f"{name} has no weights as safetensors; others: {pickled}",
            expected="model.safetensors (unpickling weights can run any code)",
            hint=f"polymodal encoder convert {name} FOLDER, and set name to FOLDER; many "
            "repositories also hold a converted copy as revision=refs/pr/<number>",
        )
    return checkpoint


@functools.lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, changed_ns: int) -> str:
    # Size and time are there for the cache: a file that was written anew is read anew.
    return sha256_of(path)


@contextmanager
def _quietly() -> Generator[None]:
    """Keeps progress bars and reports of unused weights away; what is missing is refused."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _has_final_norm(config: Any) -> bool:
    # The families of wav2vec 2.0 normalise behind the blocks in their large versions only.
    return bool(getattr(config, "do_stable_layer_norm", True))


def _check_layer(layer: str | int, num_blocks: int) -> None:
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
    words = ("none", stem, "all")
    if freeze not in words and not (_is_number(freeze) and 0 <= int(freeze) < len(blocks)):
        raise ConfigError(
            f"freeze={freeze!r}",
            expected=f"{', '.join(words)}, or a number of blocks from 0 to {len(blocks) - 1}",
            hint="" if _is_number(freeze) else nearest(str(freeze), words),
        )
    if isinstance(freeze, int) or freeze == "all":
        model.requires_grad_(False)
    if isinstance(freeze, int):
        for trained in [blocks[freeze:], *([model.get_submodule(norm)] if norm else [])]:
            trained.requires_grad_(True)
    if freeze != "none":
        _freeze_stem(model, family)


def _freeze_stem(model: Any, family: Family) -> None:
    for path in family.stem:
        part = model.get_submodule(path)
        part.requires_grad_(False)
        if hasattr(part, "_requires_grad"):  # else its input is given a gradient in training
            part._requires_grad = False


def _add_adapters(
    model: Any, family: Family, lora: Mapping[str, Any], freeze: str | int, stem: str
) -> None:
    """Adapters of low rank (Hu et al. 2021, arXiv 2106.09685) beside frozen weights."""
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
    names = [name for name, _ in model.named_modules() if name.endswith("lora_A")]
    past = [one for one in names if family.past_adapters and family.past_adapters in one]
    if past:
        raise ConfigError(
            f"lora.target_modules={lora['target_modules']}: {family.model} reads the weights of "
            f"{past[0].removesuffix('.lora_A')} past an adapter, which would do nothing",
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
    # The older name warns from transformers 5.23 on, which knows the newer one.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


def _is_number(value: str | int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
