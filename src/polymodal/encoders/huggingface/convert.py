"""Convert models that are published as pickles only to safetensors."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polymodal.encoders.extractor import package_version
from polymodal.encoders.huggingface.checkpoint import (
    CONVERTED,
    DESCRIPTIONS,
    EXTRA,
    PICKLED_WEIGHTS,
    WEIGHTS,
    Checkpoint,
    download,
)
from polymodal.errors import CheckpointError, ConfigError, DataError
from polymodal.security.files import sha256_of


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion."""

    folder: Path  # the new one
    num_parameters: int  # number of values in all tensors
    dtypes: list[str]  # as in the pickles
    size_bytes: int  # of the new weights


def convert(
    name: str, out: Path, *, revision: str | None = None, force: bool = False
) -> Conversion:
    """Write the weights of a model as safetensors, with its configuration and tokenizer.

    The pickles are opened once, in a process of its own, by `torch.load(weights_only=True)`, which
    rejects whatever would run code. No code of the repository is run or downloaded. The folder is
    written completely or not at all.

    Raises:
        ConfigError: There is no such model, it has safetensors already, or `out` is taken.
        CheckpointError: There are no pickles, or they hold more than tensors.
        DataError: There is no room on the disk.
        MissingExtraError: transformers is not installed.
    """
    package_version("transformers", EXTRA)
    _check_free(out, force)
    source = _source(name, revision)
    pickles = _pickles(source, name)
    needed = sum(path.stat().st_size for path in pickles)
    with _replacing(out, needed) as folder:
        weights = folder / "model.safetensors"
        report = _unpickle(pickles, weights)
        source.copy_description(folder)
        note = {
            "source": name,
            "revision": source.commit,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "pickles": {path.name: sha256_of(path) for path in pickles},
            "safetensors": {weights.name: sha256_of(weights)},
            **report,
        }
        (folder / CONVERTED).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        size = weights.stat().st_size
    return Conversion(out, report["num_parameters"], report["dtypes"], size)


def _check_free(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / CONVERTED).is_file():
        message = f"{out} exists, and was not written by a conversion"
        raise ConfigError(message, hint="name another folder")
    if not force:
        raise ConfigError(f"{out} exists", hint="name another folder, or replace it with --force")


def _source(name: str, revision: str | None) -> Checkpoint:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        source = download(name, revision)
        if source.has_weights:
            return source
        return download(name, source.commit, (*DESCRIPTIONS, *PICKLED_WEIGHTS))
    if revision is not None:
        raise ConfigError(
            f"{name} is a folder, and --revision {revision}",
            expected="a revision for names of the hub only",
        )
    return Checkpoint(folder.resolve())


def _pickles(source: Checkpoint, name: str) -> list[Path]:
    if source.has_weights:
        raise ConfigError(
            f"{name} has safetensors already: {source.files(WEIGHTS)[0].name}",
            hint=f"use it as it is: encoder.speech.name or encoder.text.name={name}",
        )
    if not source.files(["config.json"]):
        raise CheckpointError(
            f"{name} has no config.json", expected="a complete model, as save_pretrained writes it"
        )
    pickles = source.files(PICKLED_WEIGHTS)
    if not pickles:
        raise CheckpointError(
            f"{name} has no {PICKLED_WEIGHTS[0]}, nor shards of one",
            expected="weights of PyTorch; those of TensorFlow or Flax cannot be converted",
        )
    single = source.folder / PICKLED_WEIGHTS[0]
    return [single] if single in pickles else _shards(source.folder, pickles)


def _shards(folder: Path, pickles: list[Path]) -> list[Path]:
    """Return the files that the index names."""
    index, hint = folder / f"{PICKLED_WEIGHTS[0]}.index.json", "download it again"
    if not index.is_file():
        raise CheckpointError(f"{folder} has shards of the weights, and no {index.name}", hint=hint)
    try:
        named = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} cannot be read: {error!r}", hint=hint) from None
    if missing := [file for file in named if folder / str(file) not in pickles]:
        message = f"{folder} lacks {missing[0]}, which {index.name} names"
        raise CheckpointError(message, hint=hint)
    return [folder / file for file in named]


def _unpickle(pickles: Sequence[Path], weights: Path) -> dict[str, Any]:
    # -P: a module that happens to lie in the working folder is not imported.
    command = [sys.executable, "-P", "-m", "polymodal.encoders.huggingface.unpickle", str(weights)]
    done = subprocess.run(
        [*command, *map(str, pickles)], capture_output=True, text=True, check=False
    )
    try:
        report = dict(json.loads(done.stdout))
    except ValueError:
        report = {}
    if done.returncode == 0 and report:
        return report
    last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    if os.strerror(errno.ENOSPC) in done.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise CheckpointError(
        f"the weights of {pickles[0].parent} cannot be converted: {report.get('fault', last)}",
        expected="tensors by name, which torch.load(weights_only=True) can read",
        hint="ask its authors for safetensors, or look for another copy of the model",
    )


@contextmanager
def _replacing(out: Path, needed: int) -> Generator[Path]:
    """Yield a folder that replaces `out` if the body succeeds."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(out.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as tmp_dir:
            folder = Path(tmp_dir) / "new"
            folder.mkdir()
            yield folder
            if out.exists():
                out.rename(Path(tmp_dir) / "old")
            folder.rename(out)
    except OSError as error:
        existing = next(path for path in out.absolute().parents if path.exists())
        free = shutil.disk_usage(existing).free
        raise DataError(
            f"{out} cannot be written: {error.strerror or error}",
            expected=f"{needed / 1e6:.0f} MB for the weights; {free / 1e6:.0f} MB are free",
            hint="free some space, or name a folder on another disk",
        ) from None
