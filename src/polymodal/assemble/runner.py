"""Runs an experiment: every fold is trained and tested, the predictions are pooled and scored."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from polymodal.assemble.build import build
from polymodal.assemble.compose import Composed, load
from polymodal.assemble.experiment import Experiment, grid
from polymodal.assemble.places import Place, places
from polymodal.assemble.ranks import rank
from polymodal.assemble.session import Session, recording, stage_time
from polymodal.contracts.predictions import PredictionTable, concatenate
from polymodal.contracts.run import RunRecord
from polymodal.data.folds import Fold, read_folds, write_folds
from polymodal.errors import RunError
from polymodal.evaluation.evaluate import score_table
from polymodal.record.files import write_whole
from polymodal.record.folder import write_record
from polymodal.record.index import find_run
from polymodal.training.checkpoints import VerifiedCheckpointIO, read_checkpoint
from polymodal.training.devices import resolve_accelerator, resolve_devices, resolve_strategy
from polymodal.training.logger import RecordLogger
from polymodal.training.module import TrainingModule
from polymodal.training.progress import Display, ProgressCallback

CHANGEABLE = ("resume", "tracker", "paths", "data", "stages")
Outcome = tuple[Path, RunRecord]


def run_experiment(
    composed: Composed, config: Mapping[str, Any], *, display: Display | None = None
) -> Outcome | None:
    """Trains, tests and records one experiment.

    Args:
        composed: The configuration, for the record.
        config: The same, resolved and checked.
        display: Where to say how it goes; standard error by default.

    Returns:
        The run folder and its record; None on other ranks than zero.

    Raises:
        UserError: Something is wrong with the config or the data; nothing was started.
        RunFailedError: The run died; its folder holds the traceback.
    """
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    resume = _resumed(composed, config)
    experiment = Experiment.prepare(config)
    make_trainer(experiment, callbacks=[], logger=False)
    facts = experiment.facts()
    with (
        recording(composed, config, data=facts, resume=resume) as session,
        display or Display() as shown,
    ):
        _record_folds(experiment, session.path, shown)
        extract(experiment, session, shown)
        folds = experiment.folds
        for fold, place in zip(folds, places(session.path, len(folds)), strict=True):
            run_fold(experiment, fold, place, session, shown)
        if rank() == 0:
            session.scores |= pool(experiment, places(session.path, len(folds)), session.path)
    return outcome(session.path)


def outcome(path: Path) -> Outcome | None:
    """Returns the folder and the record of a run that has ended; None on other ranks than zero.

    Args:
        path: The run folder.
    """
    return (path, RunRecord.read(path / "run.json")) if rank() == 0 else None


def extract(experiment: Experiment, session: Session, display: Display) -> None:
    """Computes the features of frozen encoders, or finds them where they were kept.

    Args:
        experiment: The experiment.
        session: The run.
        display: Where to say how far it is.
    """
    with stage_time(session, "extract"):
        experiment.extract(
            lambda name, done, total: display.show(
                f"extract · {name} · {done}/{total}", done / total, important=done == total
            )
        )


def run_fold(
    experiment: Experiment, fold: Fold, place: Place, session: Session, display: Display
) -> None:
    """Trains and tests one fold.

    Args:
        experiment: The experiment.
        fold: The fold.
        place: Its folder.
        session: The run.
        display: Where to say how it goes.
    """
    stages = experiment.config["stages"]
    several = len(experiment.folds) > 1
    if fold.inner and "fit" in stages:
        experiment = select(experiment, fold, place, session, display)
    module = experiment.module(fold, session.run_id)
    module.predictions = place.predictions
    callbacks = [
        *_callbacks(experiment, place),
        ProgressCallback(display, fold.index, len(experiment.folds)),
    ]
    logger = RecordLogger(session.writer, fold.index if several else None)
    trainer = make_trainer(experiment, callbacks=callbacks, logger=logger)
    if "fit" in stages and not place.fitted:
        with stage_time(session, "fit"):
            _fit(experiment, fold, place, module, trainer)
    session.notes["num_parameters"] = sum(p.numel() for p in module.parameters())
    module.load_weights(read_checkpoint(place.trained))
    with stage_time(session, "test"):
        for part, file in _parts(stages):
            apply(trainer, module, experiment.loader(fold, part), file)
    if several and rank() == 0:
        _record_fold(experiment, fold, place, session)


def select(
    experiment: Experiment, fold: Fold, place: Place, session: Session, display: Display
) -> Experiment:
    """Chooses options by the inner folds of a fold, whose test rows play no part.

    Args:
        experiment: The experiment.
        fold: The outer fold.
        place: Its folder, which gets `selection.json`.
        session: The run.
        display: Where to say how it goes.

    Returns:
        The experiment with the chosen options.
    """
    section = experiment.config["selection"]
    note = place.path / "selection.json"
    tried = json.loads(note.read_text(encoding="utf-8"))["tried"] if note.is_file() else []
    candidates = grid(section["grid"])
    for number, options in enumerate(candidates[len(tried) :], start=len(tried)):
        varied = experiment.vary(options)
        tables = []
        for inner in fold.inner:
            where = f"select · {number + 1}/{len(candidates)} · inner {inner.index + 1}"
            display.show(f"{where}/{len(fold.inner)} · {options}", number / len(candidates))
            inside = Place(place.path / "inner" / f"{number}-{inner.index}")
            tables.append(_validated(varied, inner, inside, session, display))
        pooled = score_table(concatenate(tables), experiment.scores)
        tried.append({"options": options, "scores": pooled})
        if rank() == 0:
            place.path.mkdir(parents=True, exist_ok=True)
            write_whole(note, json.dumps({"tried": tried}, indent=1))
    name = f"val/{section['score']}"
    sign = 1 if experiment.scores[section["score"]].higher_is_better else -1
    best = max(tried, key=lambda one: sign * one["scores"][name])
    session.notes.setdefault("selected", {})[str(fold.index)] = best["options"]
    display.say(
        f"fold {fold.index}: chose {best['options']} with {name} {best['scores'][name]:.3f}"
    )
    return experiment.vary(best["options"])


def _validated(
    experiment: Experiment, inner: Fold, place: Place, session: Session, display: Display
) -> PredictionTable:
    """Trains an inner fold and returns what it says of its validation part."""
    module = experiment.module(inner, session.run_id)
    module.predictions = place.predictions
    trainer = make_trainer(experiment, callbacks=_callbacks(experiment, place), logger=False)
    with stage_time(session, "select"):
        _fit(experiment, inner, place, module, trainer)
        module.load_weights(read_checkpoint(place.trained))
        apply(trainer, module, experiment.loader(inner, "val"), "val")
    trainer.strategy.barrier("validated")
    table = PredictionTable.read(place.predictions / "val.parquet")
    trainer.strategy.barrier("read")
    if trainer.is_global_zero:
        shutil.rmtree(place.path)
    return table


def apply(
    trainer: pl.Trainer, module: TrainingModule, loader: DataLoader[Any] | None, part: str
) -> None:
    """Writes the prediction table of a part with the weights that the module has.

    Args:
        trainer: The trainer.
        module: The trained module.
        loader: The part, or None if it is empty.
        part: Name of the part and of the file.
    """
    if loader is not None:
        module.part = part
        trainer.test(module, loader, verbose=False)


def pool(experiment: Experiment, at: Sequence[Place], run: Path) -> dict[str, float]:
    """Puts the predictions of all folds together and scores them once.

    Args:
        experiment: The experiment.
        at: The folders of the folds.
        run: The run folder, which gets the pooled tables.

    Returns:
        `<part>/<score>` to value.
    """
    scores: dict[str, float] = {}
    for part in ("val", "test", "predict"):
        files = [place.predictions / f"{part}.parquet" for place in at]
        tables = [PredictionTable.read(file) for file in files if file.is_file()]
        if not tables:
            continue
        pooled = concatenate(tables)
        if len(at) > 1:
            (run / "predictions").mkdir(exist_ok=True)
            pooled.write(run / "predictions" / f"{part}.parquet")
        if part != "predict":
            scores |= score_table(pooled, experiment.scores)
    return scores


def make_trainer(
    experiment: Experiment, *, callbacks: Sequence[pl.Callback], logger: Any
) -> pl.Trainer:
    """Builds Lightning's trainer from its section, with our record, checkpoints and samplers.

    Args:
        experiment: The experiment.
        callbacks: The callbacks of the fold.
        logger: The logger of the fold, or False.

    Returns:
        The trainer.

    Raises:
        ConfigError: Lightning refuses an option, or the strategy no longer exists.
    """
    options = dict(experiment.config["trainer"])
    accelerator = resolve_accelerator(options["accelerator"])
    options["devices"] = resolve_devices(accelerator, options["devices"])
    several = len(experiment.prototypes) > 1
    strategy = resolve_strategy(options.pop("strategy"), accelerator, find_unused=several)
    trainer: pl.Trainer = build(
        {
            "use_distributed_sampler": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            **options,
            "accelerator": accelerator,
        },
        "trainer",
        strategy=strategy,
        callbacks=[*callbacks],
        logger=logger,
        plugins=[VerifiedCheckpointIO()],
    )
    return trainer


def _fit(
    experiment: Experiment, fold: Fold, place: Place, module: TrainingModule, trainer: pl.Trainer
) -> None:
    training = experiment.loader(fold, "train")
    validation = experiment.loader(fold, "val")
    going_on = place.last if place.last.is_file() else None
    trainer.fit(module, training, validation, ckpt_path=going_on)
    if trainer.is_global_zero:
        place.mark_fitted(trainer.current_epoch)
    trainer.strategy.barrier("fitted")


def _callbacks(experiment: Experiment, place: Place) -> list[pl.Callback]:
    sections = experiment.config["callbacks"] or {}
    return [
        build(
            section,
            f"callbacks.{name}",
            optional={"dirpath": place.checkpoints} if _keeps_checkpoints(section) else None,
        )
        for name, section in sections.items()
        if section
    ]


def _keeps_checkpoints(section: Mapping[str, Any]) -> bool:
    return str(section["_target_"]).endswith("ModelCheckpoint")


def _parts(stages: Sequence[str]) -> list[tuple[str, str]]:
    """Which part each stage looks at, and the name of its table."""
    wanted = {"fit": ("val", "val"), "test": ("test", "test"), "predict": ("all", "predict")}
    return [wanted[stage] for stage in ("fit", "test", "predict") if stage in stages]


def _record_folds(experiment: Experiment, run: Path, display: Display) -> None:
    """Writes the folds to the record; a resumed run must find those that it began with."""
    path = run / "folds.json"
    if path.is_file() and read_folds(path)[0] != experiment.folds:
        raise RunError(
            f"{run.name} was begun with other folds: the corpus has changed since",
            remedy="start a new run, with the old folds if you want them: "
            f"split=file split.file={path}",
        )
    if rank() == 0 and not path.is_file():
        write_folds(path, experiment.folds, experiment.fingerprint)
    for warning in experiment.warnings() if rank() == 0 else ():
        display.say(f"warning: {warning}")


def _record_fold(experiment: Experiment, fold: Fold, place: Place, session: Session) -> None:
    record = RunRecord(
        run_id=f"{session.run_id}/folds/{fold.index}",
        name=f"fold {fold.index}",
        status="finished",
        experiment=session.run_id,
        parent=session.run_id,
        seed=experiment.seed,
        fold=fold.index,
        scores=dict(pool(experiment, [place], place.path)),
        notes={"assignment": _held_out(fold)},
    )
    write_record(place.path / "run.json", record)


def _held_out(fold: Fold) -> dict[str, list[str]]:
    """The values of each grouping column that the fold tests on."""
    return {
        column: [value for value, part in parts.items() if part == "test"]
        for column, parts in fold.assignment.items()
        if column != "utterance_id"
    }


def _resumed(composed: Composed, config: Mapping[str, Any]) -> Path | None:
    """Finds the run to go on with, and refuses if it had another configuration."""
    if not config["resume"]:
        return None
    path = find_run(Path(config["paths"]["runs"]), config["resume"])
    before = load(path / "config.yaml", composed.name).resolved()
    changed = [
        key
        for key in sorted({*before, *config} - {*CHANGEABLE})
        if before.get(key) != config.get(key)
    ]
    if changed:
        shown = "; ".join(f"{key}: {before.get(key)} became {config.get(key)}" for key in changed)
        raise RunError(
            f"the run {path.name} cannot go on with another configuration: {shown}",
            remedy="give the command that began it, plus resume=…, or start a new run",
        )
    return path
