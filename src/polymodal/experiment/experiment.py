"""An experiment as objects: its corpus, folds, features, and the module and loaders of a fold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import polars as pl
import torch
from torch.utils.data import DataLoader

from polymodal.config.grid import with_options
from polymodal.config.instantiate import instantiate, instantiate_partial
from polymodal.config.schema import DataOptions, PathOptions, SelectionOptions
from polymodal.corpora.transcripts import TextPreparation, prepare_text
from polymodal.data.dataset import ReadAndTransform, Reader, UtteranceDataset
from polymodal.data.folds import Fold, num_covered_rows
from polymodal.data.leakage import add_transcript_groups
from polymodal.data.loaders import default_num_workers, make_loader
from polymodal.data.subsample import subsample_per_label
from polymodal.encoders.base import Encoder
from polymodal.encoders.extractor import Extractor
from polymodal.encoders.frozen import FrozenEncoder
from polymodal.errors import ManifestError
from polymodal.evaluation.classification import Score
from polymodal.evaluation.score import score_directions
from polymodal.experiment.components import (
    build_encoders,
    build_loss,
    build_model,
    build_score,
    build_task,
    sampling_weights,
)
from polymodal.experiment.readers import (
    LazyRead,
    ReadFeatures,
    StoredReader,
    apply_missing_policy,
    build_reader,
    inputs_of,
)
from polymodal.experiment.trained_encoders import TrainedEncoder, trained_encoders
from polymodal.features.extract import counting, fill
from polymodal.features.lookup import StoreLookup, look_up
from polymodal.features.prefix_cache import PrefixPlan, exceeds_free_space, plan_prefix_cache
from polymodal.features.store import FeatureStore
from polymodal.schemas.manifest import Manifest, Utterance
from polymodal.training.balanced_module import BalancedModule
from polymodal.training.devices import resolve_accelerator
from polymodal.training.module import TrainingModule
from polymodal.training.tasks import Task

DEFAULT_BATCH_S = 120.0  # the budget of a batch where `auto` finds no CUDA device
STAGE_SPLITS = {
    "train": ("train", "train"),
    "fit": ("val", "val"),
    "test": ("test", "test"),
    "predict": ("all", "predict"),
}


@dataclass
class Experiment:
    """Everything that a configuration describes, built as it is needed.

    Args:
        config: The composed configuration, resolved and checked.
        manifest: The corpus.
        folds: The folds; one without a `split`.
        task: The task to predict.
        scores: Name to score.
        prototypes: Encoders that are asked for their transforms and sizes, never trained.
        fingerprint: Of the corpus as it was read.
        remarks: What the user should know of the data.
        features: Modality to (id to features), for frozen encoders and frozen beginnings.
        fold_features: The same for each fold, where each has an encoder of its own.
        trained: Modality to the run that its encoder comes from.
        batch_s: Budget of a batch that was found for the device; None where it is given.
        prefixes: The frozen beginnings of encoders, as far as they are read from the store.
    """

    config: Mapping[str, Any]
    manifest: Manifest
    folds: list[Fold]
    task: Task
    scores: dict[str, Score]
    prototypes: dict[str, Encoder]
    fingerprint: str
    remarks: list[str]
    features: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    fold_features: dict[str, list[Mapping[str, np.ndarray]]] = field(default_factory=dict)
    trained: dict[str, TrainedEncoder] = field(default_factory=dict)
    batch_s: float | None = None
    prefixes: PrefixPlan = field(default_factory=PrefixPlan)

    @classmethod
    def prepare(
        cls,
        config: Mapping[str, Any],
        num_trained: int | None = None,
        stored: tuple[Sequence[Fold], str] | None = None,
        planned: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> "Experiment":
        """Read and split the corpus, and build every component once to fail early.

        Args:
            config: The composed configuration, resolved and checked.
            num_trained: Number of trained folds to apply to the unsplit corpus.
            stored: Folds that a run was trained with, and the fingerprint of their corpus: taken
                instead of those that the split gives.
            planned: Configurations of a study's members that encoders come from, and that have
                not run yet.

        Raises:
            UserError: Rows, folds or options cannot be used.
        """
        preparation: TextPreparation = instantiate(config["text"], "text")
        corpus = prepare_text(instantiate(config["corpus"], "corpus"), preparation)
        trained = trained_encoders(config, planned)
        prototypes = build_encoders(
            config["encoder"], {name: encoder.prototype for name, encoder in trained.items()}
        )
        manifest = add_transcript_groups(
            apply_missing_policy(corpus, prototypes, DataOptions(**config["data"]).missing)
        )
        task = build_task(config["task"])
        fingerprint, remarks = corpus.fingerprint(), []
        if num_trained is not None:
            folds = [Fold(index, {}) for index in range(num_trained)]
        elif stored is not None and (num_covered := num_covered_rows(manifest, stored[0])):
            folds = [*stored[0]]
            if fingerprint != stored[1]:
                remarks.append(
                    "this is not the corpus that the run was trained with: "
                    f"{num_covered} of {len(manifest)} rows belong to its folds, the others are "
                    "left out"
                )
        else:
            folds = instantiate(config["split"], "split", manifest=manifest)
        scores = {name: build_score(section, task) for name, section in config["scores"].items()}
        for encoder in trained.values():
            dependent = bool(config["split"].get("speaker_dependent"))
            encoder.check(manifest, fingerprint, folds, speaker_dependent=dependent)
            remarks += encoder.remarks(manifest, fingerprint, task.classes or task.values)
        return cls(
            config, manifest, folds, task, scores, prototypes, fingerprint, remarks, trained=trained
        )

    def with_options(self, options: Mapping[str, Any]) -> "Experiment":
        """Return the experiment with other options of what is trained.

        Args:
            options: Dotted key, such as `optimizer.lr`, to value.

        Returns:
            The experiment; corpus, folds and stored features are shared.

        Raises:
            ConfigError: A key does not exist, or is none of what is trained.
        """
        return replace(self, config=with_options(self.config, options))

    @cached_property
    def data_options(self) -> DataOptions:
        """How utterances are read and put into batches."""
        return DataOptions(**self.config["data"])

    @cached_property
    def selection(self) -> SelectionOptions:
        """What nested cross-validation chooses."""
        return SelectionOptions(**self.config["selection"])

    @property
    def seed(self) -> int:
        """Seed of the random numbers."""
        return int(self.config["seed"])

    @property
    def stage_splits(self) -> list[tuple[str, str]]:
        """The split that each stage evaluates after training, and the name of its table."""
        stages = self.config["stages"]
        return [splits for stage, splits in STAGE_SPLITS.items() if stage in stages]

    def build_model(self, encoders: Mapping[str, Encoder]) -> torch.nn.Module:
        """Build the model for the outputs of the encoders."""
        return build_model(self.config["model"], self.feature_sizes(encoders), self.task)

    @staticmethod
    def feature_sizes(encoders: Mapping[str, Encoder]) -> dict[str, int]:
        """Return the width of each encoder's output."""
        return {name: encoder.feature_size for name, encoder in encoders.items()}

    @cached_property
    def balance_validates(self) -> bool:
        """Whether the balancing of modalities needs validation rows."""
        balance = instantiate(self.config["balance"], "balance")
        return balance is not None and bool(balance.validates)

    @property
    def score_directions(self) -> dict[str, bool]:
        """Name of each score to whether a higher value is better."""
        return score_directions(self.scores, self.task.values)

    @property
    def frozen(self) -> dict[str, FrozenEncoder]:
        """Modality to its encoder, where that is not trained and its output is stored."""
        return {
            n: prototype
            for n, prototype in self.prototypes.items()
            if isinstance(prototype, FrozenEncoder)
        }

    @property
    def extractors(self) -> dict[str, Extractor]:
        """Modality to what computes that of it which is stored."""
        of_frozen = {name: encoder.extractor for name, encoder in self.frozen.items()}
        return {**of_frozen, **self.prefixes.extractors}

    def plan_prefix_cache(self, precision: Any, *, training: bool) -> None:
        """Decide which frozen beginnings of encoders are stored and read; `extract` computes them.

        Args:
            precision: Precision of the computation, as Lightning names it.
            training: Whether the run trains.
        """
        # Of a pushed run the weights are in its checkpoint alone, and the prototype has none.
        readable = {
            name: prototype
            for name, prototype in self.prototypes.items()
            if name not in self.trained
            and getattr(getattr(prototype, "checkpoint", None), "has_weights", True)
        }
        reuse, trainer = self.data_options.reuse_prefix, self.config["trainer"]
        self.prefixes = plan_prefix_cache(readable, reuse, trainer, precision, training=training)

    def extract(self, progress: Callable[[str, int, int], None]) -> None:
        """Compute the outputs of frozen encoders, once for all folds and cached between runs.

        Args:
            progress: Called with the modality, how many utterances are done, and of how many.

        Raises:
            DataError: An utterance cannot be read or computed, or the store cannot be written.
        """
        for name in self.extractors:
            if name in self.trained and self.trained[name].per_fold:
                self.fold_features[name] = [
                    self._extracted(name, self.look_up_features(name, progress, fold), progress)
                    for fold in self.folds
                ]
                continue
            seen = self.look_up_features(name, progress)
            if name in self.prefixes.extractors and self._leaves_out(name, seen):
                continue
            self.features[name] = self._extracted(name, seen, progress)

    def _extracted(
        self, name: str, seen: StoreLookup, progress: Callable[[str, int, int], None]
    ) -> Mapping[str, np.ndarray]:
        """Compute missing features, and return all, of frozen encoders normalised by speaker."""
        fill(
            seen,
            num_workers=self.data_options.extract_workers,
            done=counting(seen, partial(progress, name)),
        )
        if name not in self.frozen:
            return seen.features()
        speakers = {utterance.utterance_id: utterance.speaker for utterance in self.used_utterances}
        return self.frozen[name].normalise_by_speaker(seen.features(), speakers)

    def stored_features(self, name: str, fold: Fold) -> Mapping[str, np.ndarray]:
        """Return the stored features of a modality that a fold uses."""
        if name in self.fold_features:
            return self.fold_features[name][fold.index]
        return self.features[name]

    def _leaves_out(self, name: str, seen: StoreLookup) -> bool:
        reason = exceeds_free_space(seen) if self.data_options.reuse_prefix == "auto" else None
        if reason is not None:
            self.prefixes.disable(name, reason)
        return reason is not None

    def look_up_features(
        self,
        name: str,
        progress: Callable[[str, int, int], None],
        fold: Fold | None = None,
    ) -> StoreLookup:
        """Look up which features of a frozen encoder, or frozen beginning, the store has.

        Args:
            name: The modality.
            progress: Called with the task, the number of utterances read, and the total.
            fold: The fold, where each has an encoder of its own.

        Raises:
            DataError: An utterance cannot be read, or the store is damaged.
        """
        data, source = self.data_options, self._source(self.prototypes[name], cache_mb=0)
        folder = PathOptions(**self.config["paths"]).store_folder
        extractor, used, message = self.extractors[name], self.used_utterances, name
        if fold is not None:
            extractor, used = self.trained[name].extractor(fold.index), self._used_in([fold])
            message = f"{name} of fold {fold.index + 1}/{len(self.folds)}"
        return look_up(
            [(utterance.utterance_id, LazyRead(source, utterance)) for utterance in used],
            extractor,
            FeatureStore(folder, data.store_dtype),
            num_threads=data.extract_workers,
            progress=partial(progress, f"reading for {message}"),
        )

    def build_module(self, fold: Fold, run_id: str = "") -> TrainingModule:
        """Build the module of a fold, from the same seed in every fold.

        Args:
            fold: The fold; features are standardised by its training rows.
            run_id: The run, for the prediction tables.
        """
        torch.manual_seed(self.seed)
        encoders = build_encoders(
            self.config["encoder"],
            {name: partial(self._from_run, name, fold) for name in self.trained},
        )
        for name in self.prefixes.extractors:
            encoders[name].reads_prefix = True
        if fold.assignment:
            self._fit(encoders, fold)
        balance = instantiate(self.config["balance"], "balance")
        module = TrainingModule if balance is None else partial(BalancedModule, balance=balance)
        return module(
            encoders,
            self.build_model(encoders),
            self.build_loss(fold),
            task=self.task,
            scores=self.scores,
            optimizer=instantiate_partial(self.config["optimizer"]),
            scheduler=instantiate_partial(self.config["scheduler"]),
            seed=self.seed,
            fold=fold.index,
            run_id=run_id,
            speakers=self.manifest.frame.select("utterance_id", "speaker"),
        )

    def build_loss(self, fold: Fold) -> torch.nn.Module:
        """Build the loss for the classes of a fold's training rows.

        Raises:
            UserError: It rejects its options, or is one for other tasks.
        """
        counts = [0.0] * len(self.task.classes or self.task.values)
        num_targets = 0
        if fold.assignment:
            targets = self.task.targets(self.train_rows(fold).frame)
            counts, num_targets = self.task.class_counts(targets) or counts, len(targets)
        return build_loss(self.config["loss"], self.task, counts, num_targets)

    def build_loader(
        self, fold: Fold, split: str, *, training: bool = False
    ) -> DataLoader[Any] | None:
        """Make the loader of a split of a fold.

        Args:
            fold: The fold.
            split: `train`, `val`, `test`, or `all` for the whole corpus.
            training: Whether it is to be trained on: new batches each epoch, drawn as
                `data.sampling` says.

        Returns:
            The loader, or None if the split is empty.
        """
        rows = self._rows(fold, split)
        if rows is None:
            return None
        data, targets = self.data_options, self.task.targets(rows.frame)
        return make_loader(
            UtteranceDataset(rows, self._readers(fold), targets),
            shuffle=training,
            weights=sampling_weights(data.sampling, targets, self.task) if training else None,
            batch_s=self.batch_s or (DEFAULT_BATCH_S if data.batch_s == "auto" else data.batch_s),
            max_utterances=data.max_utterances,
            num_workers=self.num_workers,
            timeout_s=data.timeout_s,
            pin_memory=torch.cuda.is_available(),
            seed=self.seed,
        )

    @property
    def num_workers(self) -> int:
        """Processes that read ahead for a loader."""
        given = self.data_options.num_workers
        if given != "auto":
            return int(given)
        return default_num_workers(resolve_accelerator(self.config["trainer"]["accelerator"]))

    def _from_run(self, name: str, fold: Fold) -> Encoder:
        """An encoder that comes from a run, as a fold begins with it."""
        trained, frozen = self.trained[name], self.frozen.get(name)
        if frozen is None:
            return trained.encoder(fold.index)
        # What it computes is stored by now, so that the first fold's extractor does for all.
        return trained.frozen(frozen.extractor)

    def _fit(self, encoders: Mapping[str, Encoder], fold: Fold) -> None:
        """Standardise features by the training rows."""
        rows = self.train_rows(fold)
        ids = rows.frame["utterance_id"].to_list()
        for name, encoder in encoders.items():
            if isinstance(encoder, FrozenEncoder):
                encoder.fit(self.stored_features(name, fold), ids)
            elif encoder.learns_moments and name not in self.trained:
                read = ReadAndTransform(self._source(encoder, cache_mb=0), encoder.transform())
                encoder.fit(ReadFeatures(rows, read), ids)

    @cached_property
    def used_utterances(self) -> list[Utterance]:
        """Return the rows that belong to a split of any fold."""
        return self._used_in(self.folds)

    def _used_in(self, folds: Sequence[Fold]) -> list[Utterance]:
        """Return the rows that belong to a split of any fold; files of the others are not read."""
        frame = self.manifest.frame
        is_used = frame.select(pl.any_horizontal(fold.is_assigned(frame) for fold in folds))
        used = self.manifest.take(frame.filter(is_used.to_series()))
        return [used.utterance(row) for row in range(len(used))]

    def _rows(self, fold: Fold, split: str) -> Manifest | None:
        if split == "train":
            return self.train_rows(fold)
        if split == "all":
            return self.manifest.take(self.manifest.frame.sort("utterance_id"))
        return fold.select(self.manifest, split)

    def num_rows(self, fold: Fold, split: str) -> int:
        """Return the number of rows that a loader of a split, or of `all`, has."""
        return len(self._rows(fold, split) or ())

    def train_rows(self, fold: Fold) -> Manifest:
        """Return the training rows that have a target and something to read, or a share of them.

        Raises:
            ManifestError: There is none.
        """
        frame = self.manifest.frame
        learnt = frame.filter(
            (fold.split_of_rows(frame) == "train") & self._readable & self.has_target
        )
        if learnt.is_empty():
            raise ManifestError(
                f"no training row of fold {fold.index} has a target for task={self.task.name}",
                expected="labels, votes or values, as the task reads them",
                hint="check corpus.columns and corpus.label_map, or choose another task",
            )
        fraction = self.data_options.train_fraction
        return self.manifest.take(subsample_per_label(learnt, fraction).sort("utterance_id"))

    @cached_property
    def has_target(self) -> pl.Series:
        """Which rows have a target, in the order of the manifest."""
        return pl.Series(self.task.has_target(self.task.targets(self.manifest.frame)))

    @cached_property
    def _readable(self) -> pl.Series:
        """Which rows have something that an encoder reads."""
        if not self.prototypes:  # a check whose encoders could not be built
            return pl.Series([True] * len(self.manifest))
        inputs = [
            has_input
            for encoder in self.prototypes.values()
            for has_input in inputs_of(encoder.source, encoder.signals).values()
        ]
        return self.manifest.frame.select(pl.any_horizontal(*inputs)).to_series()

    def _readers(self, fold: Fold) -> dict[str, Reader]:
        kept_mb = self.data_options.cache_mb / max(1, self.num_workers)
        return {
            name: StoredReader(self.stored_features(name, fold))
            if name in self.extractors
            else ReadAndTransform(self._source(encoder, kept_mb), encoder.transform())
            for name, encoder in self.prototypes.items()
        }

    def _source(self, encoder: Encoder, cache_mb: float) -> Callable[[Utterance], Any]:
        channels = self.data_options.channels
        return build_reader(encoder, self.manifest, channels=channels, cache_mb=cache_mb)
