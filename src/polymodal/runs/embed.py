"""The embeddings of a finished run's encoders, for its own corpus or any other."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from polymodal.config.instantiate import instantiate
from polymodal.config.run_encoders import DEFAULTS, FROM_RUN, TARGET
from polymodal.config.schema import DataOptions, PathOptions
from polymodal.corpora.transcripts import TextPreparation, prepare_text
from polymodal.data.folds import num_covered_rows
from polymodal.data.leakage import add_transcript_groups
from polymodal.encoders.extractor import Extractor
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.errors import ConfigError, ManifestError, SplitError, nearest
from polymodal.experiment.encoder_sections import require_finished
from polymodal.experiment.pretrained_files import pretrained_models, require_same_files
from polymodal.experiment.readers import LazyRead, build_reader, inputs_of
from polymodal.experiment.trained_encoders import (
    TrainedEncoder,
    check_same_weights,
    trained_encoder,
)
from polymodal.features.lookup import StoreLookup, look_up
from polymodal.features.store import FeatureStore
from polymodal.schemas.embeddings import Embeddings
from polymodal.schemas.manifest import Manifest
from polymodal.security.targets import resolve_target
from polymodal.tracking.index import read_record

HELD_OUT, ALL = "held_out", "all"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EmbeddingRequest:
    """The requested embeddings of a run.

    Args:
        modality: Name of the encoder; None for all.
        pooling: `mean` for one vector per utterance, `none` for one per frame or token.
        layer: Layer of a pretrained encoder; None for the one that the run was trained with.
        fold: `held_out` for each row by the fold that has it in its test split, `all` for every
            row by every fold, or the number of a fold.

    Raises:
        ConfigError: `fold` is invalid.

    Example:
        >>> EmbeddingRequest(fold="1").fold_number
        1
    """

    modality: str | None = None
    pooling: str = "mean"
    layer: str | int | None = None
    fold: str = HELD_OUT

    def __post_init__(self) -> None:
        if self.fold not in (HELD_OUT, ALL) and not self.fold.isdecimal():
            raise ConfigError(
                f"--fold {self.fold}",
                expected=f"{HELD_OUT}, {ALL}, or the number of a fold",
                hint=nearest(self.fold, (HELD_OUT, ALL)),
            )

    @property
    def fold_number(self) -> int | None:
        """The number of the requested fold; None for `held_out` and `all`."""
        return int(self.fold) if self.fold.isdecimal() else None


@dataclass(frozen=True)
class Job:
    """The rows that one encoder, with the weights of one fold, computes embeddings of.

    Args:
        modality: Name of the encoder.
        extractor: Returns the extractor; called late, because it loads weights.
        rows: See `Embeddings`.
        title: Name in progress messages.
    """

    modality: str
    extractor: Callable[[], Extractor]
    rows: pl.DataFrame
    title: str


@dataclass
class RunEmbeddings:
    """The jobs that compute the embeddings of a run.

    Args:
        config: Its configuration with the requested changes, resolved and checked.
        manifest: The corpus.
        request: The requested embeddings.
        jobs: Each encoder and fold, with its rows.
        remarks: Remarks on the corpus for the user.
    """

    config: Mapping[str, Any]
    manifest: Manifest
    request: EmbeddingRequest
    jobs: list[Job]
    remarks: list[str]

    @classmethod
    def prepare(
        cls, run: Path, config: Mapping[str, Any], request: EmbeddingRequest
    ) -> "RunEmbeddings":
        """Read the corpus and find the weights without computing anything.

        Args:
            run: Folder of the run.
            config: Its configuration with the requested changes, resolved and checked.
            request: The requested embeddings.

        Raises:
            UserError: The run has not finished, lacks the modality, the fold or a checkpoint, or a
                row is in the test split of no fold.
        """
        record = read_record(run)
        require_finished(record)
        encoders = _encoders(run, config, request)
        trained = {
            name: encoder
            for name, encoder in encoders.items()
            if isinstance(encoder, TrainedEncoder)
        }
        check_same_weights(
            record, {n: encoder for n, encoder in trained.items() if not encoder.by_command}
        )
        frozen = {n: e for n, e in encoders.items() if isinstance(e, FrozenEncoder)}
        require_same_files(record, run, pretrained_models(frozen))
        for encoder in trained.values():
            assert encoder.digests  # raises if a checkpoint is missing or damaged
        preparation: TextPreparation = instantiate(config["text"], "text")
        manifest = add_transcript_groups(
            prepare_text(instantiate(config["corpus"], "corpus"), preparation)
        )
        jobs = [
            job
            for name, encoder in encoders.items()
            for job in _jobs(name, encoder, _readable(manifest, name, encoder), request)
        ]
        return cls(config, manifest, request, jobs, [*_remarks(manifest, trained)])

    def survey(self, job: Job, progress: Progress) -> StoreLookup:
        """Look up the features of a job in the store.

        Args:
            job: The job.
            progress: Called with a title, the number of read utterances, and their total.

        Raises:
            UserError: A checkpoint is damaged, an utterance cannot be read, or the store is
                damaged.
        """
        data, extractor = DataOptions(**self.config["data"]), job.extractor()
        frame = self.manifest.frame.join(job.rows, on="utterance_id", how="semi")
        manifest = self.manifest.take(frame)
        source = build_reader(extractor, manifest, channels=data.channels)
        utterances = [manifest.utterance(row) for row in range(len(manifest))]
        folder = PathOptions(**self.config["paths"]).store_folder
        return look_up(
            [(utterance.utterance_id, LazyRead(source, utterance)) for utterance in utterances],
            extractor,
            FeatureStore(folder, data.store_dtype),
            num_threads=data.extract_workers,
            progress=lambda done, total: progress(f"reading for {job.title}", done, total),
        )

    def embeddings(self, job: Job, features: Mapping[str, np.ndarray]) -> Embeddings:
        """Return the embeddings of a job.

        Args:
            job: The job.
            features: Utterance id to stored features `[time, feature]`.
        """
        is_pooled = self.request.pooling == "mean"
        values = [features[name].astype(np.float32) for name in job.rows["utterance_id"]]
        if is_pooled:
            values = [value.mean(axis=0, keepdims=True) for value in values]
        offsets = np.cumsum([0, *map(len, values)]).astype(np.int64)
        return Embeddings(job.modality, job.rows, np.concatenate(values), offsets, is_pooled)


def _encoders(
    run: Path, config: Mapping[str, Any], request: EmbeddingRequest
) -> dict[str, TrainedEncoder | FrozenEncoder]:
    """Return the encoder of each requested modality."""
    sections, requested = config["encoder"], request.modality
    if requested is not None and requested not in sections:
        raise ConfigError(
            f"{run.name} has no modality {requested!r}",
            expected=f"one of {', '.join(sections)}",
            hint=nearest(requested, list(sections)),
        )
    names = [requested] if requested is not None else [*sections]
    return {name: _encoder(run, name, config, request) for name in names}


def _encoder(
    run: Path, name: str, config: Mapping[str, Any], request: EmbeddingRequest
) -> TrainedEncoder | FrozenEncoder:
    section, runs = config["encoder"][name], PathOptions(**config["paths"]).runs_folder
    asked: dict[str, Any] = {"pooling": request.pooling}
    asked |= {"layer": request.layer} if request.layer is not None else {}
    if section.get(FROM_RUN) and section.get("mode", "frozen") == "frozen":
        return trained_encoder(name, {**section, **asked}, runs)
    if not section.get(FROM_RUN) and _is_frozen(name, section):
        if request.layer is not None and "layer" not in section:
            raise ConfigError(
                f"--layer {request.layer}: the encoder {name} has no layers to choose from",
                hint="leave it out, or choose another encoder with --modality",
            )
        options = {key: value for key, value in asked.items() if key in section}
        frozen: FrozenEncoder = instantiate({**section, **options}, f"encoder.{name}")
        return frozen
    trained = {**DEFAULTS, "_target_": TARGET, FROM_RUN: str(run.resolve()), "modality": name}
    return trained_encoder(name, {**trained, **asked}, runs, by_command=True)


def _is_frozen(name: str, section: Mapping[str, Any]) -> bool:
    from polymodal.config.compose import project_packages

    target = resolve_target(section["_target_"], f"encoder.{name}", project_packages(Path.cwd()))
    return isinstance(target, type) and issubclass(target, FrozenEncoder)


def _readable(
    manifest: Manifest, name: str, encoder: TrainedEncoder | FrozenEncoder
) -> pl.DataFrame:
    """Return the rows that have the source of an encoder, in the order of their ids."""
    inputs = inputs_of(encoder.source, encoder.signals)
    frame = manifest.frame.filter(pl.any_horizontal(*inputs.values())).sort("utterance_id")
    if frame.is_empty():
        raise ManifestError(
            f"no utterance of the corpus has {' or '.join(inputs)}, which the encoder {name} reads",
            hint="choose another corpus, or an encoder with --modality",
        )
    return frame


def _jobs(
    name: str,
    encoder: TrainedEncoder | FrozenEncoder,
    frame: pl.DataFrame,
    request: EmbeddingRequest,
) -> Iterator[Job]:
    """Yield the jobs of one encoder, fold by fold."""
    if isinstance(encoder, FrozenEncoder):  # the same in every fold
        rows = frame.select(
            "utterance_id",
            pl.lit(None, pl.Int64).alias("fold"),
            pl.lit(None, pl.String).alias("split"),
        )
        yield Job(name, partial(getattr, encoder, "extractor"), rows, name)
        return
    tables = _tables(encoder, frame, request)
    for fold, rows in tables.items():
        title = f"{name} of fold {fold + 1}/{len(encoder.fold_dirs)}" if encoder.per_fold else name
        yield Job(name, partial(encoder.extractor, fold), rows, title)


def _tables(
    encoder: TrainedEncoder, frame: pl.DataFrame, request: EmbeddingRequest
) -> dict[int, pl.DataFrame]:
    num_folds = len(encoder.fold_dirs)
    tables = {fold: _rows(encoder, fold, frame) for fold in range(num_folds)}
    if request.fold == ALL or (num_folds == 1 and request.fold == HELD_OUT):
        return tables
    if request.fold == HELD_OUT:
        return _held_out(encoder, tables)
    number = int(request.fold)
    if number >= num_folds:
        raise ConfigError(
            f"--fold {number}: {encoder.name} has {num_folds} fold{'s' * (num_folds > 1)}",
            expected=f"a number from 0 to {num_folds - 1}",
        )
    return {number: tables[number]}


def _rows(encoder: TrainedEncoder, fold: int, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of a fold of the weights, each with its split in that fold."""
    split = pl.repeat(None, frame.height, dtype=pl.String, eager=True)
    if fold < len(encoder.folds) and {*encoder.folds[fold].assignment} <= {*frame.columns}:
        split = encoder.folds[fold].split_of_rows(frame)
    return frame.select("utterance_id", pl.lit(fold, pl.Int64).alias("fold"), split.alias("split"))


def _held_out(
    encoder: TrainedEncoder, tables: Mapping[int, pl.DataFrame]
) -> dict[int, pl.DataFrame]:
    """Return each row once, from the first fold that has it in its test split."""
    hint = f"--fold K for the weights of one of its {len(tables)} folds, or --fold {ALL}"
    if not encoder.folds:
        raise SplitError(
            f"which rows the folds of {encoder.name} were tested on is not known: it has no "
            "folds.json (a pushed run has none)",
            hint=hint,
        )
    ids = next(iter(tables.values()))["utterance_id"]
    tested = pl.concat([table.filter(split="test") for table in tables.values()])
    first = tested.unique("utterance_id", keep="first", maintain_order=True)
    never = ids.filter(~ids.is_in(first["utterance_id"].implode()))
    if len(never):
        raise SplitError(
            f"{len(never)} of {len(ids)} rows are in the test split of no fold of {encoder.name}, "
            f"such as {never[0]!r}",
            expected="rows that the run has tested, each held out by one fold",
            hint=hint,
        )
    held_out = {fold: first.filter(fold=fold).sort("utterance_id") for fold in tables}
    return {fold: rows for fold, rows in held_out.items() if rows.height}


def _remarks(manifest: Manifest, encoders: Mapping[str, TrainedEncoder]) -> Iterator[str]:
    for name, encoder in encoders.items():
        covered = num_covered_rows(manifest, encoder.folds) if encoder.folds else 0
        if not encoder.folds:
            yield f"{name}: the training rows of {encoder.name} are unknown"
        elif covered < len(manifest):
            yield f"{name}: {covered} of {len(manifest)} rows belong to the folds of {encoder.name}"
