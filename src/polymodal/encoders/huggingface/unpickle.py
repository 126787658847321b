"""Turns pickled weights into safetensors: a process of its own, which conversion.py starts.

python -m polymodal.encoders.huggingface.unpickle RESULT PICKLE [PICKLE ...]

What it found is printed as JSON; a fault is printed as `{"fault": ...}` and ends with 1.
"""

import json
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor


class UnusableError(Exception):
    """The pickles hold something else than named tensors."""


def main(arguments: Sequence[str]) -> int:
    """Reads pickles and writes safetensors.

    Args:
        arguments: The file to write, and the pickles.

    Returns:
        The exit code.
    """
    result, pickles = Path(arguments[0]), [Path(one) for one in arguments[1:]]
    try:
        tensors = named_tensors(pickles)
        found = {
            "num_tensors": len(tensors),
            "num_parameters": sum(one.numel() for one in tensors.values()),
            "dtypes": sorted({str(one.dtype).removeprefix("torch.") for one in tensors.values()}),
        }
        save_file(tensors, result, metadata={"format": "pt"})
    except UnusableError as error:
        print(json.dumps({"fault": str(error)}))
        return 1
    print(json.dumps(found))
    return 0


def named_tensors(pickles: Sequence[Path]) -> dict[str, Tensor]:
    """Reads the tensors of all parts of a model.

    Tensors that share memory, such as tied weights, are copied: every name keeps its own.

    Args:
        pickles: The parts, as `torch.save` wrote them.

    Returns:
        Name to tensor, each contiguous, of the dtype that it has in the file.

    Raises:
        UnusableError: A file is damaged, needs code to be read, holds anything but named tensors,
            or a name is in two files.
    """
    tensors: dict[str, Tensor] = {}
    memory: set[int] = set()
    for path in pickles:
        for name, value in _entries(path).items():
            if not isinstance(name, str) or not isinstance(value, Tensor) or value.is_sparse:
                raise UnusableError(
                    f"{path.name} holds {type(value).__name__} under {name!r}, where a tensor was "
                    "expected: it is no model's weights, but a checkpoint of a training"
                )
            if name in tensors:
                raise UnusableError(f"{path.name} holds {name!r}, and so does another part")
            place = value.untyped_storage().data_ptr()
            alone = value.contiguous()
            tensors[name] = alone.clone() if place in memory and alone is value else alone
            memory.add(place)
    return tensors


def _entries(path: Path) -> Mapping[Any, Any]:
    try:
        # Only the format of today is a zip file, whose tensors can stay on the disk.
        loaded = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+\w)", str(error))
        named = f", such as {code[1]}" if code else ""
        raise UnusableError(
            f"{path.name} is damaged, or cannot be read without running code that it names{named}"
        ) from None
    except Exception as error:  # a damaged file raises any of a dozen
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise UnusableError(f"{path.name} is damaged: {said}") from None
    if not isinstance(loaded, Mapping):
        raise UnusableError(f"{path.name} holds {type(loaded).__name__}, no names and tensors")
    return loaded


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
