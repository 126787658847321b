"""Find, download and load the models of the Hugging Face hub.

Weights are read from safetensors only, and no code of a repository is ever run: whatever is
downloaded is data.
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
from typing import Any, Literal

import torch
from torch import nn

from polymodal.encoders.extractor import package_version
from polymodal.errors import CheckpointError, ConfigError
from polymodal.security.files import sha256_of

EXTRA = "pretrained"
FOLDER = "sha256:"  # begins the revision of a folder, which is no commit of the hub
# All that is downloaded, and all that identifies a checkpoint: never pickles, never Python.
DESCRIPTIONS = ("*.json", "*.txt", "*.model")
WEIGHTS = ("model.safetensors", "model-*.safetensors")
FILES = (*DESCRIPTIONS, *WEIGHTS)
# The input of `polymodal encoder convert`, and the note that it writes next to the result.
PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model-*.bin")
CONVERTED = "converted.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
# Only training with masked frames reads it, and many checkpoints were stored without it.
MASKED_FRAME = "masked_spec_embed"
State = tuple[tuple[str, int, int], ...]

_weights: ContextVar[str] = ContextVar("pretrained_weights", default="required")


@contextmanager
def pretrained_weights(policy: Literal["required", "optional", "skipped"]) -> Generator[None]:
    """Choose whether pretrained models get their own weights or random ones.

    For callers that load the weights of a checkpoint afterwards.
    """
    token = _weights.set(policy)
    try:
        yield
    finally:
        _weights.reset(token)


@dataclass(frozen=True)
class Family:
    """The differences between architectures."""

    model: str  # name of the class in transformers
    blocks: str  # path of the transformer blocks
    stem: tuple[str, ...]  # modules before the blocks, which the first step of freezing freezes
    adapted: tuple[str, ...]  # modules that LoRA adapts by default
    final_norm: str = ""  # path of the normalisation behind the last block; empty without one
    encoder: str = ""  # module that is used; empty for the whole model
    # Modules with this in their name read weights without calling the layer that holds them, so
    # that an adapter there would have no effect.
    past_adapters: str = ""
    attention: str = "sdpa"  # implementation of the attention
    plain: bool = True  # whether a block's input and the mask are enough to continue from there
    options: Mapping[str, Any] = field(default_factory=dict)  # of the model's constructor


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a pretrained model, of the user or in the cache of the hub.

    `commit` is that of the hub's repository, None for a folder of the user.
    """

    folder: Path
    commit: str | None = None

    @property
    def has_weights(self) -> bool:
        """Whether the folder has weights as safetensors."""
        return bool(self.files(WEIGHTS))

    @property
    def model_type(self) -> str:
        """The architecture, as `config.json` names it."""
        try:
            config = json.loads((self.folder / "config.json").read_text("utf-8"))
            return str(config.get("model_type"))
        except (ValueError, AttributeError) as error:
            raise CheckpointError(
                f"config.json of {self.folder} cannot be read: {error}",
                hint="download the files again",
            ) from None

    @property
    def state(self) -> State:
        """Name, size and time of change of each file: another state is another model."""
        states = [(path.name, path.stat()) for path in self.files(FILES) if path.name != CONVERTED]
        return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in states)

    @property
    def digest(self) -> str:
        """SHA-256 over weights, configuration and tokenizer: 64 hexadecimal digits."""
        lines = [f"{name} {digest}\n" for name, digest in self.digests.items()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def digests(self) -> dict[str, str]:
        """Name of each of these files to its SHA-256."""
        return {
            name: _file_digest(self.folder / name, size, changed_ns)
            for name, size, changed_ns in self.state
        }

    @property
    def revision(self) -> str:
        """The commit of the hub, or `sha256:` and the digest of a folder."""
        return self.commit or f"{FOLDER}{self.digest}"

    def files(self, patterns: Sequence[str]) -> list[Path]:
        """Return the files of the folder that match a pattern, sorted."""
        return sorted({path for pattern in patterns for path in self.folder.glob(pattern)})

    def copy_description(self, folder: Path) -> None:
        """Copy all but the weights: configuration, tokenizer and feature extractor.

        Raises:
            OSError: A file cannot be read or written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for path in self.files(DESCRIPTIONS):
            if path.name != CONVERTED and not path.name.endswith(".index.json"):  # of the weights
                copyfile(path, folder / path.name)

    def family(self, families: Mapping[str, Family]) -> Family:
        """Return the entry of `families` for its architecture.

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


def locate(name: str, revision: str | None = None) -> Checkpoint:
    """Find a model, and download it if necessary.

    Raises:
        ConfigError: There is no such folder, the hub cannot provide it, or a folder has a
            revision.
        CheckpointError: The folder has no configuration, or no weights as safetensors.
        MissingExtraError: transformers is not installed.
    """
    package_version("transformers", EXTRA)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return _checked(download(name, revision), name)
    if revision is not None:
        raise ConfigError(
            f"name={name} is a folder, and revision={revision}",
            expected="a revision for names of the hub only",
            hint="leave out revision; the digest of the folder is recorded",
        )
    return _checked(Checkpoint(folder.resolve()), name)


def download(name: str, revision: str | None = None, patterns: Sequence[str] = FILES) -> Checkpoint:
    """Download the files of a hub's repository that match, or find them in its cache.

    Raises:
        ConfigError: The hub cannot provide them.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=list(patterns))
    except Exception as error:  # its own, and those of whichever HTTP library it uses
        at = f" at revision {revision}" if revision else ""
        option = f" --revision {revision}" if revision else ""
        includes = " ".join(f"--include '{pattern}'" for pattern in patterns)
        raise ConfigError(
            f"{name}{at} is not a folder here, and the hub did not provide it: {first_line(error)}",
            expected="a folder, or a name of the hub that can be reached or is in its cache",
            hint="download it where there is a network, and set name to the folder:\n"
            f"    hf download {name}{option} {includes} --local-dir FOLDER",
        ) from None
    return Checkpoint(Path(folder), commit=Path(folder).name)  # the cache names folders by commit


def load(checkpoint: Checkpoint, family: Family, **options: Any) -> Any:
    """Load the model of transformers, or its encoder, with weights as float32.

    Raises:
        CheckpointError: The weights are damaged or incomplete.
    """
    import transformers  # here, as it is optional

    policy = _weights.get()
    if policy == "skipped" or (policy == "optional" and not checkpoint.has_weights):
        return _from_description(checkpoint, family, options)
    try:
        with _quiet_transformers():
            model, report = getattr(transformers, family.model).from_pretrained(
                checkpoint.folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,  # the default is that of the file, half precision included
                attn_implementation=family.attention,
                output_loading_info=True,
                **family.options,
                **options,
            )
    except Exception as error:  # transformers and safetensors raise a dozen different ones
        raise CheckpointError(
            f"{checkpoint.folder} cannot be loaded: {error}", hint="download the files again"
        ) from error
    if missing := sorted(set(report["missing_keys"]) - {MASKED_FRAME}):
        raise CheckpointError(
            f"{checkpoint.folder} lacks weights of {len(missing)} parameters, such as {missing[0]}",
            expected=f"all weights of {family.model}",
            hint="use the folder or repository of the model that config.json describes",
        )
    if report["missing_keys"]:
        nn.init.zeros_(model.masked_spec_embed)
    return getattr(model, family.encoder) if family.encoder else model


class WeightsInFolder:
    """An encoder whose option `name` is a folder with its weights, or a name of the hub."""

    @classmethod
    def weights_mb(cls, options: Mapping[str, Any]) -> float | None:
        """Return the size of the weights in the folder in MB; None without a folder."""
        folder = Path(str(options.get("name", ""))).expanduser()
        if not folder.is_dir():
            return None
        return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class without one.

    Example:
        >>> first_line(OSError("no such file")), first_line(TimeoutError())
        ('no such file', 'TimeoutError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _from_description(checkpoint: Checkpoint, family: Family, options: Mapping[str, Any]) -> Any:
    """Return the model with random weights and all options that `load` sets."""
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


def _checked(checkpoint: Checkpoint, name: str) -> Checkpoint:
    if not checkpoint.files(["config.json"]) or checkpoint.files(["adapter_config.json"]):
        raise CheckpointError(
            f"{name} has no config.json, or is an adapter of another model",
            expected="a complete model, as save_pretrained writes it",
            hint="merge an adapter into its model, and name that folder",
        )
    if _weights.get() == "required" and not checkpoint.has_weights:
        pickled = ", ".join(path.name for path in checkpoint.files(PICKLES)) or "none"
        raise CheckpointError(
            f"{name} has no weights as safetensors; others: {pickled}",
            expected="model.safetensors (unpickling weights can run any code)",
            hint=f"polymodal encoder convert {name} FOLDER, and set name to FOLDER; many "
            "repositories also hold a converted copy as revision=refs/pr/<number>",
        )
    return checkpoint


@functools.lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, changed_ns: int) -> str:
    # Size and time are part of the key of the cache: a changed file is read again.
    return sha256_of(path)


@contextmanager
def _quiet_transformers() -> Generator[None]:
    """Suppress progress bars and reports of unused weights; missing ones are an error."""
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
