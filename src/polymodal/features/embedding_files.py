"""Write embeddings for other programs: NumPy, Parquet, a Hugging Face dataset."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from polymodal.errors import ConfigError, MissingExtraError
from polymodal.schemas.embeddings import Embeddings
from polymodal.security.files import atomic_write

NPZ, PARQUET = ".npz", ".parquet"
DATASET_FILES = ("dataset_info.json", "state.json")
NO_FOLD = -1


def check_target(out: str) -> None:
    """Reject a file that `write_embeddings` cannot write, before anything is computed.

    Raises:
        ConfigError: The suffix is unknown, or the folder holds something else than a dataset.
        MissingExtraError: The library `datasets` is needed and not installed.
    """
    path = Path(out)
    if not is_dataset(out):
        if path.suffix not in (NPZ, PARQUET):
            raise ConfigError(
                f"--out {out}: no format has the suffix {path.suffix!r}",
                expected=f"{NPZ}, {PARQUET}, or a folder without suffix for a dataset",
                hint=f"--out {path.with_suffix(PARQUET)}",
            )
        if path.is_dir():
            raise ConfigError(f"--out {out} is a folder", hint="name a file")
        return
    _datasets()
    is_ours = all((path / name).is_file() for name in DATASET_FILES)
    if path.exists() and not is_ours and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError(f"--out {out} holds something else", hint="name a new folder")


def is_dataset(out: str) -> bool:
    """Whether a name is that of the folder of a Hugging Face dataset.

    Example:
        >>> is_dataset("embeddings"), is_dataset("v1.0/"), is_dataset("embeddings.npz")
        (True, True, False)
    """
    return out.endswith("/") or not Path(out).suffix


def write_embeddings(tables: Sequence[Embeddings], out: str) -> None:
    """Write the embeddings of each modality, at least one, in the format of the suffix.

    `out` is a name in `.npz` or `.parquet`, or a folder without suffix (or ending in `/`) for a
    dataset of the library `datasets`; existing files are replaced.

    Raises:
        ConfigError: As of `check_target`, or it cannot be written.
        MissingExtraError: As of `check_target`.
    """
    check_target(out)
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_dataset(out):
            _datasets().Dataset.from_polars(as_frame(tables)).save_to_disk(out)
        else:
            with atomic_write(path) as tmp_path:
                if path.suffix == NPZ:
                    _write_npz(tables, tmp_path)
                else:
                    as_frame(tables).write_parquet(tmp_path)
    except OSError as error:
        raise ConfigError(f"--out {out} cannot be written: {error}") from None


def as_frame(tables: Sequence[Embeddings]) -> pl.DataFrame:
    """Return the embeddings of each modality (all pooled, or none) as one table.

    Its columns are `utterance_id`, `modality`, `fold`, `split` and `embedding`: a list of float32,
    or a list of vectors where some row has another number of vectors than one.
    """
    is_pooled, frames = all(table.is_pooled for table in tables), []
    for table in tables:
        vectors = pl.Series("embedding", table.values).cast(pl.List(pl.Float32))
        if not is_pooled:
            row = np.repeat(np.arange(table.rows.height), np.diff(table.offsets))
            grouped = pl.DataFrame({"row": row, "embedding": vectors})
            vectors = grouped.group_by("row", maintain_order=True).agg("embedding")["embedding"]
        modality = pl.lit(table.modality).alias("modality")
        frames.append(table.rows.select("utterance_id", modality, "fold", "split", vectors))
    return pl.concat(frames)


def _write_npz(tables: Sequence[Embeddings], path: Path) -> None:
    is_pooled = all(table.is_pooled for table in tables)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for table in tables:
            rows = table.rows
            arrays: dict[str, npt.NDArray[Any]] = {
                "ids": np.array(rows["utterance_id"].to_list(), dtype=np.str_),  # of fixed width
                "values": table.values,
                **({} if is_pooled else {"offsets": table.offsets}),
                "folds": rows["fold"].fill_null(NO_FOLD).to_numpy().astype(np.int64),
                "splits": np.array(rows["split"].fill_null("").to_list(), dtype=np.str_),
            }
            for name, array in arrays.items():
                with archive.open(f"{table.modality}/{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("datasets", "datasets") from None
    return datasets
