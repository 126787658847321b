"""A folder of features, each found by what it was made of.

Legend: time = vectors an utterance has, feature = width.
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from polymodal.encoders.extractor import Extractor
from polymodal.errors import DataError

FORMAT_VERSION = 1
DIGEST_SIZE = hashlib.sha256().digest_size


class FeatureCache:
    """Features by content: another waveform, text, extractor, version or option is another key.

    One file a key, `ab/abcd....npy`: a NumPy file with its SHA-256 behind. It is written beside
    its place and renamed, so any number of processes can share the folder; a damaged file counts
    as missing.

    Args:
        folder: Where the files are; it is made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_or_compute(self, raw: Any, extractor: Extractor) -> Float32[np.ndarray, "time feature"]:
        """Returns the features of an utterance, from the folder if they are there.

        Args:
            raw: Waveform, float32 `[sample]`, text, or signals: name to values and rate in Hz.
            extractor: What makes the features.

        Returns:
            Float32 `[time, feature]`.

        Raises:
            DataError: The extractor gave another shape than it promises, or the folder cannot be
                written.
        """
        key = content_key(raw, extractor)
        values = self.get(key)
        if values is None:
            values = checked(extractor(raw), extractor)
            self.put(key, values)
        return values

    def get(self, key: str) -> Float32[np.ndarray, "time feature"] | None:
        """Returns stored features.

        Args:
            key: What `content_key` returned.

        Returns:
            Float32 `[time, feature]`, or None where the file is missing or damaged.
        """
        try:
            content = self._path(key).read_bytes()
            body, digest = content[:-DIGEST_SIZE], content[-DIGEST_SIZE:]
            if hashlib.sha256(body).digest() != digest:
                return None
            return np.asarray(np.load(io.BytesIO(body), allow_pickle=False), dtype=np.float32)
        except (OSError, ValueError):
            return None

    def put(self, key: str, values: Float32[np.ndarray, "time feature"]) -> None:
        """Stores features, in one step as other processes see it.

        Args:
            key: What `content_key` returned.
            values: Float32 `[time, feature]`.

        Raises:
            DataError: The folder cannot be written.
        """
        path = self._path(key)
        body = io.BytesIO()
        np.save(body, values, allow_pickle=False)
        content = body.getvalue()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, content + hashlib.sha256(content).digest())
        except OSError as error:
            raise DataError(
                f"the feature cache {self.folder} cannot be written: {error}",
                remedy="free some space, or name another folder",
            ) from error

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npy"


def content_key(raw: Any, extractor: Extractor) -> str:
    """Returns the name of the features that an extractor makes of an utterance.

    Args:
        raw: Waveform, `[sample]`, text, or signals: name to values and rate in Hz.
        extractor: What makes the features.

    Returns:
        64 hexadecimal digits (SHA-256).
    """
    kind, content = _kind_and_content(raw)
    header = json.dumps([FORMAT_VERSION, extractor.identity, kind])
    return hashlib.sha256(header.encode() + b"\0" + content).hexdigest()


def checked(values: Any, extractor: Extractor) -> Float32[np.ndarray, "time feature"]:
    """Returns features as float32 if they have the shape that the extractor promises.

    Args:
        values: What it gave.
        extractor: What gave them.

    Returns:
        Float32 `[time, feature]`.

    Raises:
        DataError: The shape is another one.
    """
    array = np.asarray(values, dtype=np.float32)
    if array.ndim != 2 or len(array) == 0 or array.shape[1] != extractor.feature_size:
        raise DataError(
            f"{extractor.identity} gave features of shape {array.shape}",
            expected=f"[time, {extractor.feature_size}] with at least one vector",
            remedy="mend the extractor, or leave out the utterance",
        )
    return array


def _kind_and_content(raw: Any) -> tuple[Any, bytes]:
    if isinstance(raw, str):
        return "text", raw.encode()
    if isinstance(raw, Mapping):
        kinds, contents = [], []
        for name, (values, rate_hz) in sorted(raw.items()):
            # It tells the shape, so the same bytes under other names are another key.
            kind, content = _kind_and_content(values)
            kinds.append([name, None if rate_hz is None else float(rate_hz), kind])
            contents.append(content)
        return kinds, b"".join(contents)
    values = np.ascontiguousarray(raw)
    return f"{values.dtype.str}{values.shape}", values.tobytes()


def _write(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
