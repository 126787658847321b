"""Convert pickled weights to safetensors, in a process of its own that convert.py starts.

python -m polymodal.encoders.huggingface.unpickle RESULT PICKLE [PICKLE ...]

The result is printed as JSON; a fault is printed as `{"fault": ...}` and ends with 1.
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

from polymodal.encoders.huggingface.checkpoint import first_line


class UnusableError(Exception):
    """The pickles hold something else than named tensors."""


def main(arguments: Sequence[str]) -> int:
    """Read pickles and write safetensors; return the exit code."""
    result, pickles = Path(arguments[0]), [Path(argument) for argument in arguments[1:]]
    try:
        tensors = named_tensors(pickles)
        report = {
            "num_tensors": len(tensors),
            "num_parameters": sum(tensor.numel() for tensor in tensors.values()),
            "dtypes": sorted(
                {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}
            ),
        }
        save_file(tensors, result, metadata={"format": "pt"})
    except UnusableError as error:
        print(json.dumps({"fault": str(error)}))
        return 1
    print(json.dumps(report))
    return 0


def named_tensors(pickles: Sequence[Path]) -> dict[str, Tensor]:
    """Read the tensors of all files of a model, each contiguous and of its dtype in the file.

    Tensors that share memory, such as tied weights, are copied: every name has its own.

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
                    "expected: these are not the weights of a model, but a checkpoint of a training"
                )
            if name in tensors:
                raise UnusableError(f"{path.name} holds {name!r}, and so does another file")
            address = value.untyped_storage().data_ptr()
            alone = value.contiguous()
            tensors[name] = alone.clone() if address in memory and alone is value else alone
            memory.add(address)
    return tensors


def _entries(path: Path) -> Mapping[Any, Any]:
    try:
        # Only the current format is a zip file, whose tensors can stay on the disk.
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
        raise UnusableError(f"{path.name} is damaged: {first_line(error)}") from None
    if not isinstance(loaded, Mapping):
        raise UnusableError(f"{path.name} holds {type(loaded).__name__}, not names and tensors")
    return loaded


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
