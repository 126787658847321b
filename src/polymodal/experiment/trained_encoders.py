"""Encoders that other runs have trained: found by their record, and loaded fold by fold."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from polymodal.config.compose import load_config
from polymodal.config.instantiate import instantiate
from polymodal.config.run_encoders import FROM_RUN, MEMBER
from polymodal.config.schema import PathOptions
from polymodal.data.folds import Fold
from polymodal.encoders.base import Encoder
from polymodal.encoders.embeddings import EmbeddingExtractor, resolve_precision
from polymodal.encoders.extractor import Extractor, package_version
from polymodal.encoders.from_run import EncoderFromRun
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.encoders.huggingface.checkpoint import pretrained_weights
from polymodal.encoders.huggingface.encoder import PretrainedEncoder
from polymodal.errors import CheckpointError, SplitError
from polymodal.experiment.encoder_sections import (
    SECTION,
    encoder_class,
    encoder_section,
    require_finished,
    untrained,
)
from polymodal.experiment.pretrained_files import require_own_files
from polymodal.experiment.seen_rows import SeenRows, require_unseen
from polymodal.schemas.manifest import Manifest
from polymodal.schemas.run_record import RunRecord
from polymodal.security.files import atomic_write_text
from polymodal.tracking.index import find_run, read_record
from polymodal.tracking.run_folder import ENCODERS, FoldDir, find_fold_dirs
from polymodal.training.checkpoints import read_checkpoint, verified_digest

OF_FOLDER = ("name", "revision")  # where pretrained weights were; a checkpoint holds them all


@dataclass
class TrainedEncoder:
    """The encoder of one modality that a run has trained.

    Args:
        key: Where it is asked for, such as `encoder.speech`.
        asked: What is asked for.
        section: Class and options to build.
        run: Folder of the run; None for a member of a study that has not run yet.
        fold_dirs: The folders of its folds.
        seen: What the weights were trained on, by the run itself first; empty where that was not
            recorded.
        record: The run's record.
        classes: What the weights were trained to tell apart.
        by_command: Whether a command reads the encoder of a run that it was given, such as
            `embed`: it may then be untrained, and messages name no option.
    """

    key: str
    asked: EncoderFromRun
    section: Mapping[str, Any]
    run: Path | None = None
    fold_dirs: Sequence[FoldDir] = ()
    seen: Sequence[SeenRows] = ()
    record: RunRecord | None = None
    classes: Sequence[str] = ()
    by_command: bool = False

    @property
    def where(self) -> str:
        """What messages begin with: the option that names the run, or the run itself."""
        if self.by_command:
            return f"{self.name}: encoder {self.modality}"
        return f"{self.key}.from_run={self.name}"

    @property
    def modality(self) -> str:
        """What it is called in the run."""
        return self.asked.modality or self.key.partition(".")[2]

    @property
    def source(self) -> str:
        """What the encoder reads: `audio`, `text` or `signals`."""
        target = encoder_class(self.section, self.where)
        return str(getattr(target, "source", None) or self.encoder(0).source)

    @cached_property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals that it reads; empty for all."""
        if self.source != "signals":
            return ()
        with pretrained_weights("skipped"):
            encoder: Encoder = instantiate(self.section, self.key)
        return encoder.signals

    @property
    def folds(self) -> Sequence[Fold]:
        """How each fold of the run was split; empty where that was not recorded."""
        return self.seen[0].folds if self.seen else ()

    @property
    def per_fold(self) -> bool:
        """Whether each fold has weights of its own."""
        return len(self.fold_dirs) > 1

    def index(self, fold: int) -> int:
        """Return the fold of the run whose weights a fold takes."""
        return fold if self.per_fold else 0

    @cached_property
    def digests(self) -> list[str]:
        """SHA-256 of the checkpoint of each fold.

        Raises:
            CheckpointError: One is missing, or does not match the digest in its record.
        """
        return [verified_digest(fold_dir.best_or_last_checkpoint) for fold_dir in self.fold_dirs]

    def encoder(self, fold: int) -> Encoder:
        """Build the encoder with the weights that a fold of the run has trained.

        Returns:
            The encoder; for a run that does not exist yet with the weights that it begins with.

        Raises:
            CheckpointError: The checkpoint is missing, damaged, or does not fit the options.
            ConfigError: The class refuses its options, or nothing of it was trained.
        """
        if self.run is None:
            planned: Encoder = instantiate(self.section, self.key)
            return planned
        path = self.fold_dirs[self.index(fold)].best_or_last_checkpoint
        state = _state_of(path, self.modality)
        with pretrained_weights("skipped"):
            encoder: Encoder = instantiate(self.section, self.key)
        is_trained = any(parameter.requires_grad for parameter in encoder.parameters())
        if not is_trained and self.asked.is_frozen and not self.by_command:
            raise untrained(self.section, self.modality, self.where)
        self._load(encoder, state, path)
        return encoder

    def extractor(self, fold: int) -> EmbeddingExtractor:
        """Return what computes the embeddings with the weights of a fold.

        Raises:
            UserError: As of `encoder`.
        """
        encoder, precision = self.encoder(fold), resolve_precision(self.asked.precision)
        digest = self.digests[self.index(fold)] if self.run else "none yet"
        options = {name: value for name, value in self.section.items() if name not in OF_FOLDER}
        versions = f"polymodal {package_version('polymodal', '')}"
        if isinstance(encoder, PretrainedEncoder):
            versions += f" transformers {package_version('transformers', 'pretrained')}"
        about = json.dumps(options, sort_keys=True, default=str)
        identity = (
            f"{versions} encoder of a run, checkpoint {digest} modality {self.modality} {about} "
            f"pooling {self.asked.pooling} {precision}"
        )
        return EmbeddingExtractor(encoder, identity, precision, self.asked.pooling)

    def prototype(self) -> Encoder:
        """Return the encoder as an experiment uses it, with the weights of the first fold.

        Raises:
            UserError: As of `encoder`.
        """
        if not self.asked.is_frozen:
            return self.encoder(0)
        return self.frozen(self.extractor(0))

    def frozen(self, extractor: Extractor) -> FrozenEncoder:
        """Return the frozen encoder of a fold, before its features are standardised."""
        return FrozenEncoder(
            extractor,
            normalise=self.asked.normalise,
            clip=self.asked.clip,
            signals=self.signals,
        )

    def facts(self) -> dict[str, Any]:
        """Return what the record says of where the encoder comes from, as plain values."""
        if self.record is None:
            return {}
        return {
            "run": self.record.run_id,
            "experiment": self.record.experiment,
            "modality": self.modality,
            "mode": self.asked.mode,
            "layer": self.section.get("layer"),
            "pooling": self.asked.pooling,
            "digests": self.digests,
            "corpus": self.corpus,
            "classes": [*self.classes],
        }

    @property
    def corpus(self) -> str:
        """The corpus that it was trained on, as far as the run's record names it."""
        assert self.record is not None, "what has not run yet was trained on nothing"
        return str(self.record.data.get("corpus") or self.record.experiment)

    def remarks(
        self, manifest: Manifest, fingerprint: str, classes: Sequence[str]
    ) -> Iterator[str]:
        """Say what is allowed and unusual: another corpus, other labels."""
        if self.run is None:
            return
        if not self.folds:
            yield (
                f"which rows {self.key} was trained on is not known ({self.name}): scores on them "
                "would be too good"
            )
        elif not self.seen[0].is_of(manifest, fingerprint):
            yield f"{self.key} was trained on another corpus: {self.corpus} ({self.name})"
        if [*classes] != [*self.classes]:
            yield (
                f"{self.key} was trained for other labels ({self.name}): "
                f"{', '.join(self.classes)}; here {', '.join(classes)}"
            )

    def check(
        self,
        manifest: Manifest,
        fingerprint: str,
        folds: Sequence[Fold],
        *,
        speaker_dependent: bool,
    ) -> None:
        """Refuse weights that have seen what the experiment validates or tests on.

        Args:
            manifest: The corpus of the experiment.
            fingerprint: Of the corpus as it was read.
            folds: Its folds; those that assign nothing are passed over.
            speaker_dependent: Whether its split may share speakers.

        Raises:
            SplitError: A fold would be judged by rows or speakers that its weights were trained
                on, or the run has another number of folds.
        """
        if self.run is None:
            return
        if self.per_fold and len(self.fold_dirs) != len(folds):
            raise SplitError(
                f"{self.key}.from_run={self.name} has {len(self.fold_dirs)} folds, this experiment "
                f"has {len(folds)}",
                expected="weights for each fold, trained on its own training rows",
                hint=f"use the same split in both: split=file split.file={self.run / 'folds.json'}"
                if self.folds
                else "use --split all to apply every fold's model to the whole corpus",
            )
        if not any(fold.assignment for fold in folds):  # nothing is judged, such as in `predict`
            return
        if not self.seen:
            raise SplitError(
                f"{self.key}: {self.run} has no folds.json (a pushed run has none), so the "
                "training rows of its weights are not known",
                expected="the folds that the weights were trained with",
                hint="train the encoder again",
            )
        judged = [fold for fold in folds if fold.assignment]
        require_unseen(
            self.where,
            self.seen,
            manifest,
            fingerprint,
            judged,
            speaker_dependent=speaker_dependent,
        )
        if self.per_fold and any(fold.inner for fold in folds):
            raise SplitError(
                f"{self.where} has {len(self.fold_dirs)} folds, and here each fold has inner ones",
                expected="a run with one fold, whose weights serve all of them",
                hint="train it with split=holdout, or use split=k_folds here",
            )

    @property
    def name(self) -> str:
        """The run, for messages."""
        return self.record.run_id if self.record else self.asked.from_run

    def _load(self, encoder: Encoder, state: Mapping[str, Any], path: Path) -> None:
        try:
            keys = encoder.load_state_dict(state, strict=False)
        except RuntimeError as error:  # other shapes
            reason = str(error).splitlines()[-1].strip()
            raise self._unfitting(path, reason) from None
        learned_here = not self.asked.is_frozen and self.asked.layer == "weighted"
        missing = [key for key in keys.missing_keys if not (learned_here and "mixture" in key)]
        if missing:
            raise self._unfitting(path, f"it lacks {len(missing)} tensors, such as {missing[0]}")
        changed = self.asked.layer is not None or self.asked.options
        if keys.unexpected_keys and not changed:
            odd = keys.unexpected_keys
            raise self._unfitting(path, f"it has {len(odd)} more tensors, such as {odd[0]}")

    def _unfitting(self, path: Path, reason: str) -> CheckpointError:
        changed = {"layer": self.asked.layer} if self.asked.layer is not None else {}
        changed |= dict(self.asked.options)
        given = ", ".join(f"{name}={value}" for name, value in changed.items())
        return CheckpointError(
            f"{self.where}: the weights of {path} do not fit the encoder"
            f"{f' with {given}' if given else ''}: {reason}",
            expected="options that go with what the run has trained",
            hint="leave out layer and options, or choose a layer that the run has",
        )


def trained_encoders(
    config: Mapping[str, Any], planned: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, TrainedEncoder]:
    """Find the encoders that an experiment takes from runs.

    Args:
        config: The configuration, resolved.
        planned: Name of a study's member to its configuration, for those that have not run yet.

    Returns:
        Modality to where its encoder comes from.

    Raises:
        UserError: There is no such run, it has not finished, lacks the modality, or has trained
            nothing of it.
    """
    runs = PathOptions(**config["paths"]).runs_folder
    return {
        name: trained_encoder(name, section, runs, planned or {})
        for name, section in config["encoder"].items()
        if section.get(FROM_RUN)
    }


def trained_encoder(
    name: str,
    section: Mapping[str, Any],
    runs: Path,
    planned: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    by_command: bool = False,
) -> TrainedEncoder:
    """Find the encoder of one modality that is taken from a run.

    Args:
        name: The modality.
        section: Its options, those of `EncoderFromRun`.
        runs: The folder of runs, or several as in `roots`.
        planned: As of `trained_encoders`.
        by_command: As of `TrainedEncoder`.

    Raises:
        UserError: As of `trained_encoders`.
    """
    key = f"encoder.{name}"
    asked: EncoderFromRun = instantiate(section, key)
    result = TrainedEncoder(key, asked, {}, by_command=by_command)
    if asked.from_run.startswith(MEMBER):
        config = (planned or {}).get(asked.from_run.removeprefix(MEMBER))
        if config is None:
            return result
        section = encoder_section(asked, result.modality, config["encoder"], None, result.where)
        return replace(result, section=section)
    run = find_run(runs, asked.from_run)
    record = read_record(run)
    require_finished(record, "" if by_command else f"{key}.from_run=")
    config = load_config(run / "config.yaml", record.experiment).resolved()
    fold_dirs = find_fold_dirs(run)
    for fold_dir in fold_dirs:
        assert fold_dir.best_or_last_checkpoint  # raises where a checkpoint is missing
    result = replace(result, run=run, record=record, fold_dirs=fold_dirs)
    description, task = run / ENCODERS / result.modality, config["task"]
    require_own_files(run, record, result.modality)
    own = SeenRows.of_run(run, record, fold_dirs)
    return replace(
        result,
        section=encoder_section(
            asked, result.modality, config["encoder"], description, result.where
        ),
        seen=[own, *SeenRows.before(description)] if own else [],
        classes=[*(task.get("classes") or ()), *(task.get("values") or ())],
    )


def check_same_weights(record: RunRecord, trained: Mapping[str, TrainedEncoder]) -> None:
    """Refuse to apply a run to encoders that are not those that it was trained with.

    Args:
        record: The run.
        trained: Modality to the encoder that its configuration leads to now.

    Raises:
        CheckpointError: Their weights are others by now.
    """
    for name, encoder in trained.items():
        before = (record.encoders.get(name) or {}).get("digests")
        if before is not None and before != encoder.digests:
            raise CheckpointError(
                f"{record.run_id} was trained on embeddings of other weights than "
                f"{encoder.run} has now",
                expected="the checkpoints whose digests stand in its run.json",
                hint=f"name a copy of the run as it was: {encoder.key}.from_run=FOLDER",
            )


def describe_encoders(
    run: Path, encoders: Mapping[str, Encoder], trained: Mapping[str, TrainedEncoder]
) -> None:
    """Write into a run folder what its encoders need beside their weights.

    Args:
        run: The run folder.
        encoders: Modality to its encoder.
        trained: Those that were taken from runs themselves.
    """
    for name, encoder in encoders.items():
        folder = run / ENCODERS / name
        if isinstance(encoder, FrozenEncoder):
            continue
        encoder.write_description(folder)
        if name in trained:
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write_text(folder / SECTION, json.dumps(trained[name].section, default=str))
            for seen in trained[name].seen:
                seen.write(folder)


def _state_of(path: Path, modality: str) -> dict[str, Any]:
    """The tensors of one encoder in a checkpoint."""
    prefix = f"encoders.{modality}."
    state = read_checkpoint(path)["state_dict"]
    result = {
        key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)
    }
    if not result:
        raise CheckpointError(f"{path} holds no weights of the encoder {modality}")
    return result
