"""Compute the features of frozen encoders, or the embeddings of a finished run's encoders.

Without RUN, fill the feature store for an experiment, with the overrides of `polymodal run`. For
trained encoders the outputs of their frozen prefix are stored (data.reuse_prefix).

  polymodal embed experiment=emodb/egemaps corpus.root=DATA/emodb
  polymodal embed corpus=kemdy20 corpus.root=DATA encoder=[hubert_frozen,klue_roberta_frozen]
  polymodal embed encoder=hubert_frozen encoder.speech.pooling=none data.store_dtype=bfloat16

With RUN, write the embeddings of its encoders to a file, by utterance id, with the overrides of
`polymodal predict`. Each row is embedded by the fold that had it in its test split.

  polymodal embed last                               a vector per utterance: RUN-embeddings.parquet
  polymodal embed last --modality speech --pooling none --out frames.npz
  polymodal embed last corpus=table corpus.root=DATA corpus.file=new.csv --fold all

Stored features are not computed again, so a stopped command can be repeated. On CUDA pretrained
models run in bfloat16. `polymodal features` lists and prunes the store.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from polymodal.cli._bootstrap import checked, prepare
from polymodal.errors import ConfigError, DataError

if TYPE_CHECKING:
    from polymodal.experiment.experiment import Experiment
    from polymodal.features.lookup import MissingFeature, StoreLookup
    from polymodal.training.progress import Display

RUN_OPTIONS = ("out", "modality", "pooling", "layer", "fold")
Look = Callable[[Callable[[str, int, int], None]], "StoreLookup"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal embed`."""
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="[RUN] KEY=VALUE",
        help="run id or prefix of one, a path, or `last`; options to change",
    )
    of_run = parser.add_argument_group("with RUN")
    of_run.add_argument(
        "--out",
        metavar="FILE",
        help=".parquet (default: RUN-embeddings.parquet), .npz, or a folder for a Hugging Face "
        "dataset",
    )
    of_run.add_argument("--modality", metavar="NAME", help="one encoder; default: all of the run")
    of_run.add_argument(
        "--pooling",
        choices=("mean", "none"),
        help="mean (default): a vector per utterance; none: per frame or token",
    )
    of_run.add_argument("--layer", metavar="N", help="layer to read of a pretrained encoder")
    of_run.add_argument(
        "--fold",
        metavar="K",
        help="held_out (default): each row by the fold that tested it; all; or a number",
    )


def main(arguments: argparse.Namespace) -> int:
    """Fill the store, or write the embeddings of a run.

    Raises:
        UserError: Nothing can be computed, or an option needs a run.
    """
    run, overrides = split_run(arguments.overrides)
    if run is not None:
        from polymodal.cli.embed_run import embed_run

        return embed_run(run, overrides, arguments)
    needless = [name for name in RUN_OPTIONS if getattr(arguments, name) is not None]
    if needless:
        raise ConfigError(
            f"--{needless[0]} needs a run",
            hint=f"polymodal embed RUN --{needless[0]} …; without a run the store is filled",
        )
    return _fill_store(overrides)


def split_run(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the run, which is the first argument without `=`, and the overrides.

    Example:
        >>> split_run(["corpus=table", "last"])
        ('last', ['corpus=table'])
        >>> split_run(["corpus=table", "~tracker"])
        (None, ['corpus=table', '~tracker'])
    """
    names = [word for word in arguments if "=" not in word and not word.startswith("~")]
    if not names:
        return None, list(arguments)
    rest = list(arguments)
    rest.remove(names[0])
    return names[0], rest


def _fill_store(overrides: Sequence[str]) -> int:
    prepare()
    from polymodal.config.resume import compose_run, with_default_experiment
    from polymodal.experiment.trainer import precision_of
    from polymodal.preflight.prepare import prepare_experiment

    config = checked(compose_run(with_default_experiment(overrides)))
    experiment = prepare_experiment(config)
    experiment.plan_prefix_cache(precision_of(experiment), training=True)
    if not experiment.extractors:
        notes = [f"{name}: {note}" for name, note in experiment.prefixes.notes.items()]
        raise ConfigError(
            "no encoder of this experiment is frozen, or nothing of it is stored: "
            f"{'; '.join(notes) or ', '.join(experiment.prototypes)}",
            expected="one whose output can be stored",
            hint="choose one such as encoder=egemaps or encoder=hubert_frozen; the others "
            "need no store",
        )
    for name in experiment.extractors:
        print(_embed(experiment, name))
    return 0


def _embed(experiment: "Experiment", name: str) -> str:
    began_s = time.monotonic()
    workers = experiment.data_options.extract_workers
    seen, pace = fill_shown(
        name, lambda progress: experiment.look_up_features(name, progress), workers
    )
    stored, wall_s = seen.features(), time.monotonic() - began_s
    return (
        f"{name}: {len(stored):,} utterances, {stored.num_bytes / 1e6:,.1f} MB in "
        f"{seen.collection.folder}; {pace.num_done:,} computed now, {wall_s:.1f} s{pace.speeds}"
    )


def fill_shown(title: str, look: Look, num_workers: int) -> "tuple[StoreLookup, Throughput]":
    """Compute the features that are missing in the store, and show the progress.

    Args:
        title: Title in progress messages.
        look: Looks up the store; called with a progress callback.
        num_workers: See `features.extract.fill`.

    Returns:
        The lookup, with nothing missing any more, and the throughput.

    Raises:
        DataError: There is too little free space, or an utterance cannot be read or computed.
    """
    from polymodal.features.extract import fill
    from polymodal.training.progress import Display

    with Display() as display:
        seen = look(lambda stage, done, all_: display.show(stage, f"{done}/{all_}", done / all_))
        display.print_line(_plan(title, seen))
    _check_room(seen)
    with Display() as display:
        pace = Throughput(title, seen, display)
        fill(seen, num_workers=num_workers, done=pace.step)
    return seen, pace


class Throughput:
    """Show how fast a store fills for a modality, and how long it will take."""

    def __init__(self, name: str, seen: "StoreLookup", display: "Display") -> None:
        self.name, self.display = name, display
        self.num_missing, self.num_done = seen.num_missing, 0
        self.amount, self.amount_done = sum(feature.amount for feature in seen.missing), 0
        is_audio = seen.extractor.source == "audio"
        self.rate_hz = seen.extractor.sampling_rate_hz if is_audio else None
        self.began_s = time.monotonic()

    def step(self, feature: "MissingFeature") -> None:
        """Count a stored feature."""
        self.num_done += len(feature.ids)
        self.amount_done += feature.amount
        # By amount: the longest come first, so that counting utterances would be too slow at first.
        fraction = self.amount_done / max(1, self.amount)
        details = f"{self.name} · {self.num_done}/{self.num_missing}{self.speeds}"
        self.display.show("embed", details, fraction, important=self.num_done == self.num_missing)

    @property
    def speeds(self) -> str:
        """Utterances and seconds of audio per second; empty before the first utterance."""
        if not self.num_done:
            return ""
        wall_s = max(time.monotonic() - self.began_s, 1e-9)
        speeds = f" · {self.num_done / wall_s:,.1f} utterances/s"
        if self.rate_hz:
            speeds += f" · {self.amount_done / self.rate_hz / wall_s:,.0f} s of audio/s"
        return speeds


def _plan(name: str, seen: "StoreLookup") -> str:
    num_known = len(seen.keys)
    message = f"{name}: {seen.num_missing:,} of {num_known:,} utterances are missing in the store"
    if seen.missing:
        message += f", about {seen.expected_bytes / 1e6:,.1f} MB"
    if num_without := seen.num_utterances - num_known:
        message += f"; {num_without:,} more have no {seen.extractor.source}"
    return message


def _check_room(seen: "StoreLookup") -> None:
    import shutil

    folder = seen.collection.folder
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    needed, free = seen.expected_bytes, shutil.disk_usage(existing).free
    if needed > free:
        raise DataError(
            f"about {needed / 1e9:,.1f} GB are to be stored in {folder}, {free / 1e9:,.1f} GB are "
            "free",
            hint="free some space (polymodal features --remove --unused 30d), set paths.store "
            "to another folder, or data.store_dtype=bfloat16 for half of it",
        )
