"""An experiment as objects: its corpus, folds, features, and the module and loaders of a fold."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch.utils.data import DataLoader

from polymodal.assemble.build import build, deferred
from polymodal.contracts.manifest import Manifest, Utterance
from polymodal.corpora.transcripts import TextPreparation, prepare_text
from polymodal.data.audio import AudioReader
from polymodal.data.batches import balanced_chances
from polymodal.data.dataset import Chain, Reader, UtteranceDataset
from polymodal.data.folds import PARTS, Fold
from polymodal.data.leaks import leak_report, with_transcripts
from polymodal.data.loaders import make_loader
from polymodal.data.signals import SignalReader
from polymodal.data.text import read_text
from polymodal.encoders.base import Encoder
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.errors import ConfigError, ManifestError, nearest
from polymodal.evaluation.evaluate import score_names
from polymodal.evaluation.library import build_score
from polymodal.evaluation.scores import Score
from polymodal.features.cache import FeatureCache
from polymodal.features.extract import extract_all
from polymodal.training.module import TrainingModule
from polymodal.training.tasks import Task

HAS_SOURCE: Mapping[str, pl.Expr] = {
    "audio": pl.col("audio").is_not_null(),
    "text": pl.col("text").fill_null("").str.strip_chars() != "",
    "signals": pl.col("signals").list.len().fill_null(0) > 0,
}


# Sections that the inner folds may choose options of: what is trained, on the same data.
VARIABLE = ("model", "loss", "optimizer", "scheduler", "trainer")
DATA_WORDS: Mapping[str, tuple[str, ...]] = {
    "sampling": ("natural", "balanced"),
    "missing": ("absent", "drop", "refuse"),
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
        fingerprint: Of the corpus as it was read.
        features: Modality to (id to features), for frozen encoders.
        prototypes: Encoders that are asked for their transforms and sizes, never trained.
    """

    config: Mapping[str, Any]
    manifest: Manifest
    folds: list[Fold]
    task: Task
    scores: dict[str, Score]
    fingerprint: str = ""
    features: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    prototypes: dict[str, Encoder] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        config: Mapping[str, Any],
        num_trained: int | None = None,
        folds: Sequence[Fold] | None = None,
    ) -> "Experiment":
        """Reads the corpus, parts it, and builds every component once, so that faults show early.

        Args:
            config: The composed configuration, resolved and checked.
            num_trained: Number of trained folds to apply to the whole corpus instead of parting it.
            folds: Folds to take instead of those that the split gives.

        Returns:
            The experiment.

        Raises:
            UserError: Rows, folds or options cannot be used.
        """
        preparation: TextPreparation = build(config["text"], "text")
        manifest = prepare_text(build(config["corpus"], "corpus"), preparation)
        fingerprint = manifest.fingerprint()
        manifest = with_transcripts(manifest)
        task: Task = build(config["task"], "task")
        if num_trained is not None:
            folds = [Fold(index, {}) for index in range(num_trained)]
        elif folds is None:
            folds = build(config["split"], "split", manifest=manifest)
        scores = {
            name: build_score(deferred(section), task.kinds)
            for name, section in config["scores"].items()
        }
        experiment = cls(config, manifest, [*folds], task, scores, fingerprint)
        experiment.check(training=num_trained is None)
        return experiment

    def vary(self, options: Mapping[str, Any]) -> "Experiment":
        """Returns the experiment with other options of what is trained.

        Args:
            options: Dotted key, such as `optimizer.lr`, to value.

        Returns:
            The experiment; corpus, folds and stored features are shared.

        Raises:
            ConfigError: A key does not exist, or is none of what is trained.
        """
        config = copy.deepcopy(dict(self.config))
        for key, value in options.items():
            section, *path = key.split(".")
            if section not in VARIABLE or not path:
                raise ConfigError(
                    f"selection.grid names {key!r}",
                    expected=f"a key below {', '.join(VARIABLE)}",
                )
            node = config[section]
            for word in path[:-1]:
                node = node.get(word) or {}
            if path[-1] not in node:
                raise ConfigError(f"selection.grid names {key!r}", remedy=nearest(path[-1], node))
            node[path[-1]] = value
        return replace(self, config=config)

    def warnings(self) -> list[str]:
        """Returns what the user should know before the run, in words."""
        absent = self._absent_classes()
        return [
            f"no utterance of the {part} part has the class {', '.join(classes)} in some fold; "
            "its recall and F1 count as 0"
            for part, classes in absent.items()
        ]

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
        for key, words in DATA_WORDS.items():
            if self.config["data"][key] not in words:
                raise ConfigError(
                    f"data.{key}={self.config['data'][key]}",
                    remedy=nearest(str(self.config["data"][key]), words),
                )
        self.prototypes = self.encoders()
        self.model(self.prototypes)
        for name, encoder in self.prototypes.items():
            if not self.manifest.frame.select(HAS_SOURCE[encoder.source]).to_series().any():
                raise ManifestError(
                    f"no utterance of the corpus has {encoder.source}, which encoder.{name} reads",
                    remedy="choose another encoder or corpus",
                )
        self._apply_missing()
        self._check_labels()
        targets = self.task.targets(self.manifest.frame)
        if training:
            self.loss(Fold(0, {}))
            self._chances(targets)
            self._check_monitors()
            self._check_selection()

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
        frozen = [(n, e) for n, e in self.prototypes.items() if isinstance(e, FrozenEncoder)]
        used = self._used() if frozen else self.manifest
        utterances = [used.utterance(row) for row in range(len(used))] if frozen else []
        speakers = {one.utterance_id: one.speaker for one in utterances}
        for name, encoder in frozen:
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
        if fold.assignment:
            self._fit(encoders, self._training_part(fold))
        return TrainingModule(
            encoders,
            self.model(encoders),
            self.loss(fold),
            task=self.task,
            scores=self.scores,
            optimizer=deferred(self.config["optimizer"]),
            scheduler=deferred(self.config["scheduler"]),
            seed=self.seed,
            fold=fold.index,
            run_id=run_id,
        )

    def loss(self, fold: Fold) -> torch.nn.Module:
        """Builds the loss for the classes of a fold's training part.

        Args:
            fold: The fold; without an assignment nothing is trained.

        Returns:
            The loss.

        Raises:
            ConfigError: It is one for other tasks.
        """
        names = self.task.classes or self.task.values
        counts, num_targets = [0.0] * len(names), 0
        if fold.assignment:
            targets = self.task.targets(self._training_part(fold).frame)
            counts, num_targets = self.task.class_counts(targets) or counts, len(targets)
        loss: torch.nn.Module = build(
            self.config["loss"],
            "loss",
            optional={"classes": names, "class_counts": counts, "num_targets": num_targets},
        )
        tasks = getattr(loss, "tasks", (self.task.name,))
        if self.task.name not in tasks:
            raise ConfigError(
                f"the loss {type(loss).__name__} is for {' or '.join(tasks)}, the task is "
                f"{self.task.name}",
                remedy=f"leave the group loss out: it then is loss={self.task.name}",
            )
        return loss

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
        data, targets = self.config["data"], self.task.targets(rows.frame)
        return make_loader(
            UtteranceDataset(rows, self._readers(), targets),
            shuffle=part == "train",
            chances=self._chances(targets) if part == "train" else None,
            batch_s=data["batch_s"],
            max_utterances=data["max_utterances"],
            num_workers=data["num_workers"],
            timeout_s=data["timeout_s"],
            pin_memory=torch.cuda.is_available(),
            seed=self.seed,
        )

    def _chances(self, targets: np.ndarray) -> np.ndarray | None:
        if self.config["data"]["sampling"] == "natural":
            return None
        width = targets.shape[1] if targets.ndim == 2 else len(self.task.classes)
        if not self.task.classes or width != len(self.task.classes):
            raise ConfigError(
                f"data.sampling=balanced, but task {self.task.name} has no single class an "
                "utterance",
                remedy="use data.sampling=natural, and weights in the loss",
            )
        return balanced_chances(targets, len(self.task.classes))

    def facts(self) -> dict[str, Any]:
        """Returns what the record says of the data and of how it was parted."""
        frame = self.manifest.frame
        frozen = {n: e for n, e in self.prototypes.items() if isinstance(e, FrozenEncoder)}
        counts = frame["label"].value_counts().drop_nulls().sort("label")
        return {
            "fingerprint": self.fingerprint,
            "rows": frame.height,
            "resampled": self._resampled(),
            "speakers": frame["speaker"].n_unique(),
            "classes": dict(counts.iter_rows()),
            "refused": self.manifest.refused_by_rule(),
            "handled": dict(self.manifest.handled),
            "leaks": leak_report(self.manifest, self.folds),
            "absent_classes": self._absent_classes(),
            "folds": len(self.folds),
            "speaker_dependent": self.config["split"].get("speaker_dependent", False),
            "transductive": [name for name, encoder in frozen.items() if encoder.transductive],
            "lacking": {
                name: int((~frame.select(HAS_SOURCE[e.source]).to_series()).sum())
                for name, e in self.prototypes.items()
            },
        }

    def _resampled(self) -> dict[str, int]:
        """Sampling rate or channels of audio that is converted to what the encoders want."""
        listening = [e for e in self.prototypes.values() if e.source == "audio"]
        if not listening:
            return {}
        wanted = {encoder.sampling_rate_hz for encoder in listening}
        counts = self.manifest.frame.group_by("sampling_rate_hz", "channels").len().drop_nulls()
        return {
            f"{rate_hz} Hz, {channels} channels": count
            for rate_hz, channels, count in sorted(counts.iter_rows())
            if {rate_hz} != wanted or channels > 1
        }

    def _absent_classes(self) -> dict[str, list[str]]:
        """Part to the declared classes that no utterance of it has, in some fold."""
        absent: dict[str, set[str]] = {}
        for fold in self.folds if self.task.classes else ():
            parts = fold.parts(self.manifest.frame) if fold.assignment else None
            for part in PARTS if parts is not None else ():
                present = set(self.manifest.frame.filter(parts == part)["label"].drop_nulls())
                if present:
                    absent.setdefault(part, set()).update({*self.task.classes} - present)
        return {part: sorted(classes) for part, classes in absent.items() if classes}

    def _fit(self, encoders: Mapping[str, Encoder], training: Manifest) -> None:
        """Standardises frozen features by the training rows."""
        ids = training.frame["utterance_id"].to_list()
        for name, encoder in encoders.items():
            if isinstance(encoder, FrozenEncoder):
                stored = self.features[name]
                nothing = np.zeros((0, encoder.feature_size), dtype=np.float32)
                rows = [stored[one] for one in ids if one in stored]
                encoder.fit(np.concatenate([nothing, *rows]))

    def _used(self) -> Manifest:
        """The rows that belong to a part of some fold; no file of the others is read."""
        frame = self.manifest.frame
        wanted = frame.select(pl.any_horizontal(fold.used(frame) for fold in self.folds))
        return self.manifest.take(frame.filter(wanted.to_series()))

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
        known = pl.Series(self.task.known(self.task.targets(rows.frame)))
        return rows.take(rows.frame.filter(pl.any_horizontal(sources) & known))

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
        return (
            SignalReader(self.manifest.signals_root or self.manifest.root)
            if encoder.source == "signals"
            else read_text
        )

    def _apply_missing(self) -> None:
        """Drops or refuses utterances that lack a modality, where `data.missing` says so."""
        frame = self.manifest.frame
        sources = {encoder.source for encoder in self.prototypes.values()}
        whole = frame.select(pl.all_horizontal(HAS_SOURCE[one] for one in sorted(sources)))
        lacking = frame.filter(~whole.to_series())
        policy = self.config["data"]["missing"]
        if policy == "absent" or lacking.is_empty():
            return
        if policy == "refuse" or lacking.height == frame.height:
            raise ManifestError(
                f"{lacking.height} of {frame.height} utterances lack a modality, such as "
                f"{lacking['utterance_id'][0]!r}",
                expected=f"{', '.join(sorted(sources))} in every row (data.missing={policy})",
                remedy="use data.missing=drop to leave them out, or absent to let the model cope",
            )
        self.manifest = self.manifest.take(frame.filter(whole.to_series()))

    def _check_labels(self) -> None:
        known = set(self.task.classes or self.task.values)
        if self.task.name == "regression":
            return
        unknown = set(self.manifest.frame["label"].drop_nulls().unique()) - known
        if unknown:
            label = min(unknown)
            raise ManifestError(
                f"the corpus has the label {label!r}",
                expected=f"one of the declared classes {sorted(known)}",
                remedy=f"{nearest(label, known)}; map it with corpus.label_map, leave it out "
                "with corpus.where, or declare it in task.classes",
            )

    def _check_selection(self) -> None:
        section, nested = self.config["selection"], any(fold.inner for fold in self.folds)
        if nested != bool(section["grid"]):
            remedy = (
                "give options, such as 'selection.grid={optimizer.lr:[0.001,0.0003]}', or use "
                "split=k_folds"
                if nested
                else "use split=nested, which has inner folds to choose by"
            )
            raise ConfigError(
                "split=nested and selection.grid are only of use together", remedy=remedy
            )
        if not nested:
            return
        if section["score"] not in self.scores:
            raise ConfigError(
                f"selection.score={section['score']} is no score of this task",
                remedy=nearest(str(section["score"]), self.scores),
            )
        for options in grid(section["grid"]):
            self.vary(options).model(self.prototypes)

    def _check_monitors(self) -> None:
        names = score_names(self.scores, self.task.values)
        logged = ["train/loss", "val/loss", *(f"val/{name}" for name in names)]
        validated = all((fold.parts(self.manifest.frame) == "val").any() for fold in self.folds)
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


def grid(options: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Returns every combination of options.

    Args:
        options: Dotted key to the values to try.

    Returns:
        Dotted key to one value, for each combination.

    Example:
        >>> grid({"optimizer.lr": [0.1, 0.2], "model.dropout": [0]})
        [{'optimizer.lr': 0.1, 'model.dropout': 0}, {'optimizer.lr': 0.2, 'model.dropout': 0}]
    """
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


class _Reading:
    """A read that waits: worker processes of the extraction get it pickled."""

    def __init__(self, source: Callable[[Utterance], Any], utterance: Utterance) -> None:
        self.source, self.utterance = source, utterance

    def __call__(self) -> Any:
        return self.source(self.utterance)
