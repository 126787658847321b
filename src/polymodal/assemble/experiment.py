"""An experiment as objects: its corpus, folds, features, and the module and loaders of a fold."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch.utils.data import DataLoader

from polymodal.assemble.build import build, deferred
from polymodal.contracts.manifest import Manifest, Utterance
from polymodal.data.audio import AudioReader
from polymodal.data.dataset import Chain, Reader, UtteranceDataset
from polymodal.data.folds import Fold
from polymodal.data.loaders import make_loader
from polymodal.data.signals import SignalReader
from polymodal.data.text import read_text
from polymodal.encoders.base import Encoder
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.errors import ConfigError, ManifestError, nearest
from polymodal.evaluation.library import build_score
from polymodal.evaluation.scores import Score
from polymodal.features.cache import FeatureCache
from polymodal.features.extract import extract_all
from polymodal.training.module import TrainingModule
from polymodal.training.tasks import Classification

HAS_SOURCE: Mapping[str, pl.Expr] = {
    "audio": pl.col("audio").is_not_null(),
    "text": pl.col("text").fill_null("").str.strip_chars() != "",
    "signals": pl.col("signals").list.len().fill_null(0) > 0,
}


class Stored:
    """Reads the features of an utterance that were computed before.

    Args:
        features: Id to `[time, feature]`, float32.
    """

    def __init__(self, features: Mapping[str, np.ndarray]) -> None:
        self.features = features

    def __call__(self, utterance: Utterance) -> np.ndarray | None:
        """Returns the features, or None if the utterance lacks the modality."""
        return self.features.get(utterance.utterance_id)


@dataclass
class Experiment:
    """Everything that a configuration describes, built as it is needed.

    Args:
        config: The composed configuration, resolved and checked.
        manifest: The corpus.
        folds: The folds; one without a `split`.
        task: What is to be predicted.
        scores: Name to score.
        features: Modality to (id to features), for frozen encoders.
        prototypes: Encoders that are asked for their transforms and sizes, never trained.
    """

    config: Mapping[str, Any]
    manifest: Manifest
    folds: list[Fold]
    task: Classification
    scores: dict[str, Score]
    features: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    prototypes: dict[str, Encoder] = field(default_factory=dict)

    @classmethod
    def prepare(cls, config: Mapping[str, Any], num_trained: int | None = None) -> "Experiment":
        """Reads the corpus, parts it, and builds every component once, so that faults show early.

        Args:
            config: The composed configuration, resolved and checked.
            num_trained: Number of trained folds to apply to the whole corpus instead of parting it.

        Returns:
            The experiment.

        Raises:
            UserError: Rows, folds or options cannot be used.
        """
        manifest: Manifest = build(config["corpus"], "corpus")
        task: Classification = build(config["task"], "task")
        folds: list[Fold] = (
            build(config["split"], "split", manifest=manifest)
            if num_trained is None
            else [Fold(index, {}) for index in range(num_trained)]
        )
        scores = {
            name: build_score(deferred(section), task.num_outputs)
            for name, section in config["scores"].items()
        }
        experiment = cls(config, manifest, folds, task, scores)
        experiment.check(training=num_trained is None)
        return experiment

    @property
    def seed(self) -> int:
        """Seed of the random numbers."""
        return int(self.config["seed"])

    def check(self, *, training: bool) -> None:
        """Builds encoders and model once and compares them with the data.

        Args:
            training: Whether there are parts to train and validate on.

        Raises:
            UserError: A component refuses its options, a monitor names no score, or a modality
                stands in no row.
        """
        self.prototypes = self.encoders()
        self.model(self.prototypes)
        for name, encoder in self.prototypes.items():
            if not self.manifest.frame.select(HAS_SOURCE[encoder.source]).to_series().any():
                raise ManifestError(
                    f"no utterance of the corpus has {encoder.source}, which encoder.{name} reads",
                    remedy="choose another encoder or corpus",
                )
        self._check_labels()
        if training:
            self._check_monitors()

    def encoders(self) -> dict[str, Encoder]:
        """Builds the encoders anew, with fresh parameters."""
        sections = self.config["encoder"]
        if not sections:
            raise ConfigError("encoder names no modality", remedy="choose one, such as logmel")
        return {name: build(section, f"encoder.{name}") for name, section in sections.items()}

    def model(self, encoders: Mapping[str, Encoder]) -> torch.nn.Module:
        """Builds the model for the outputs of the encoders.

        Args:
            encoders: Modality to its encoder.

        Returns:
            The model.
        """
        sizes = {name: encoder.feature_size for name, encoder in encoders.items()}
        model: torch.nn.Module = build(
            self.config["model"], "model", feature_sizes=sizes, num_outputs=self.task.num_outputs
        )
        return model

    def extract(self, progress: Callable[[str, int, int], None]) -> None:
        """Computes what frozen encoders put out, once for all folds; kept from run to run.

        Args:
            progress: Called with the modality, how many utterances are done, and of how many.
        """
        data = self.config["data"]
        cache = FeatureCache(Path(self.config["paths"]["cache"]).expanduser() / "features")
        utterances = [self.manifest.utterance(row) for row in range(len(self.manifest))]
        speakers = {one.utterance_id: one.speaker for one in utterances}
        for name, encoder in self.prototypes.items():
            if not isinstance(encoder, FrozenEncoder):
                continue
            source = self._source(encoder, cache_mb=0)
            features = extract_all(
                [(one.utterance_id, _Reading(source, one)) for one in utterances],
                encoder.extractor,
                cache,
                num_workers=data["extract_workers"],
                progress=partial(progress, name),
            )
            self.features[name] = encoder.normalise_speakers(features, speakers)

    def module(self, fold: Fold, run_id: str = "") -> TrainingModule:
        """Builds what is trained in a fold, from the same seed in every fold.

        Args:
            fold: The fold; features are standardised by its training part.
            run_id: The run, for the prediction tables.

        Returns:
            The module.
        """
        torch.manual_seed(self.seed)
        encoders = self.encoders()
        class_counts = [0] * self.task.num_outputs
        if fold.assignment:
            training = self._training_part(fold)
            self._fit(encoders, training)
            counts = dict(training.frame["label"].value_counts().iter_rows())
            class_counts = [counts.get(name, 0) for name in self.task.classes]
        loss = build(
            self.config["loss"], "loss", classes=self.task.classes, class_counts=class_counts
        )
        return TrainingModule(
            encoders,
            self.model(encoders),
            loss,
            classes=self.task.classes,
            scores=self.scores,
            optimizer=deferred(self.config["optimizer"]),
            scheduler=deferred(self.config["scheduler"]),
            seed=self.seed,
            fold=fold.index,
            run_id=run_id,
        )

    def loader(self, fold: Fold, part: str) -> DataLoader[Any] | None:
        """Makes the loader of a part of a fold.

        Args:
            fold: The fold.
            part: `train`, `val`, `test`, or `all` for the whole corpus.

        Returns:
            The loader, or None if the part is empty.
        """
        rows = self._rows(fold, part)
        if rows is None:
            return None
        data = self.config["data"]
        return make_loader(
            UtteranceDataset(rows, self._readers(), self.task.classes),
            shuffle=part == "train",
            batch_s=data["batch_s"],
            max_utterances=data["max_utterances"],
            num_workers=data["num_workers"],
            timeout_s=data["timeout_s"],
            pin_memory=torch.cuda.is_available(),
            seed=self.seed,
        )

    def facts(self) -> dict[str, Any]:
        """Returns what the record says of the data and of how it was parted."""
        frame = self.manifest.frame
        frozen = {n: e for n, e in self.prototypes.items() if isinstance(e, FrozenEncoder)}
        counts = frame["label"].value_counts().drop_nulls().sort("label")
        return {
            "fingerprint": self.manifest.fingerprint(),
            "rows": frame.height,
            "speakers": frame["speaker"].n_unique(),
            "classes": dict(counts.iter_rows()),
            "refused": self.manifest.refused_by_rule(),
            "folds": len(self.folds),
            "speaker_dependent": self.config["split"].get("speaker_dependent", False),
            "transductive": [name for name, encoder in frozen.items() if encoder.transductive],
            "lacking": {
                name: int((~frame.select(HAS_SOURCE[e.source]).to_series()).sum())
                for name, e in self.prototypes.items()
            },
        }

    def _fit(self, encoders: Mapping[str, Encoder], training: Manifest) -> None:
        """Standardises frozen features by the training rows."""
        ids = training.frame["utterance_id"].to_list()
        for name, encoder in encoders.items():
            if isinstance(encoder, FrozenEncoder):
                stored = self.features[name]
                nothing = np.zeros((0, encoder.feature_size), dtype=np.float32)
                rows = [stored[one] for one in ids if one in stored]
                encoder.fit(np.concatenate([nothing, *rows]))

    def _rows(self, fold: Fold, part: str) -> Manifest | None:
        if part == "train":
            return self._training_part(fold)
        if part == "all":
            return self.manifest.take(self.manifest.frame.sort("utterance_id"))
        return fold.select(self.manifest, part)

    def _training_part(self, fold: Fold) -> Manifest:
        """The training rows that have a label and something to read."""
        rows = fold.select(self.manifest, "train")
        assert rows is not None  # check_folds has seen to it
        sources = [HAS_SOURCE[encoder.source] for encoder in self.prototypes.values()]
        usable = pl.any_horizontal(sources) & pl.col("label").is_not_null()
        return rows.take(rows.frame.filter(usable))

    def _readers(self) -> dict[str, Reader]:
        return {
            name: Stored(self.features[name])
            if isinstance(encoder, FrozenEncoder)
            else Chain(self._source(encoder, self.config["data"]["cache_mb"]), encoder.transform())
            for name, encoder in self.prototypes.items()
        }

    def _source(self, encoder: Encoder, cache_mb: float) -> Callable[[Utterance], Any]:
        if encoder.source == "audio":
            return AudioReader(
                self.manifest.root,
                sampling_rate_hz=encoder.sampling_rate_hz,
                channels=self.config["data"]["channels"],
                cache_mb=cache_mb,
            )
        return SignalReader(self.manifest.root) if encoder.source == "signals" else read_text

    def _check_labels(self) -> None:
        known = set(self.task.classes)
        unknown = set(self.manifest.frame["label"].drop_nulls().unique()) - known
        if unknown:
            label = min(unknown)
            raise ManifestError(
                f"the corpus has the label {label!r}",
                expected=f"one of the declared classes {list(self.task.classes)}",
                remedy=f"{nearest(label, known)}; map it with corpus.label_map, leave it out "
                "with corpus.where, or declare it in task.classes",
            )

    def _check_monitors(self) -> None:
        logged = ["train/loss", "val/loss", *(f"val/{name}" for name in self.scores)]
        validated = all(fold.select(self.manifest, "val") is not None for fold in self.folds)
        for name, section in (self.config["callbacks"] or {}).items():
            monitor = (section or {}).get("monitor")
            if monitor and monitor not in logged:
                raise ConfigError(
                    f"callbacks.{name}.monitor={monitor} is no score of this task",
                    remedy=nearest(monitor, logged),
                )
            if monitor and monitor.startswith("val/") and not validated:
                raise ConfigError(
                    f"callbacks.{name}.monitor={monitor}, but a fold has no validation part",
                    remedy="set split.val above 0, or use callbacks=last",
                )


class _Reading:
    """A read that waits: worker processes of the extraction get it pickled."""

    def __init__(self, source: Callable[[Utterance], Any], utterance: Utterance) -> None:
        self.source, self.utterance = source, utterance

    def __call__(self) -> Any:
        return self.source(self.utterance)
