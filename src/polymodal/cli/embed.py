"""Fills the feature store: what the frozen encoders of an experiment put out, for its corpus.

Of encoders that are trained it keeps what their frozen beginning puts out (data.reuse_prefix).

  polymodal embed experiment=emodb/egemaps corpus.root=DATA/emodb
  polymodal embed corpus=kemdy20 corpus.root=DATA encoder=[hubert_frozen,klue_roberta_frozen]
  polymodal embed encoder=hubert_frozen encoder.speech.pooling=none data.store_dtype=bfloat16

Takes what `polymodal run` takes. What is there already is not computed again, so a fill that was
stopped goes on; runs with the same encoders and `data.store_dtype` then only read. On CUDA
pretrained models run in bfloat16. `polymodal features` lists and cleans the store.
"""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.errors import ConfigError, DataError

if TYPE_CHECKING:
    from polymodal.assemble.experiment import Experiment
    from polymodal.features.survey import Missing, Survey
    from polymodal.training.progress import Display


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `polymodal embed`.

    Args:
        parser: The command's parser.
    """
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options to change")


def main(arguments: argparse.Namespace) -> int:
    """Fills the store.

    Args:
        arguments: As parsed.

    Returns:
        The exit code.

    Raises:
        ConfigError: No encoder of the experiment is frozen.
    """
    from polymodal.cli.start import prepare

    prepare(Path.cwd())
    from polymodal.assemble.compose import compose
    from polymodal.assemble.experiment import Experiment
    from polymodal.assemble.training import precision_of
    from polymodal.cli.start import checked

    config = checked(compose(arguments.overrides))
    experiment = Experiment.prepare(config)
    experiment.read_prefixes(precision_of(experiment), training=True)
    if not experiment.extractors:
        said = [f"{name}: {words}" for name, words in experiment.prefixes.said.items()]
        raise ConfigError(
            "no encoder of this experiment is frozen, or nothing of it is stored: "
            f"{'; '.join(said) or ', '.join(experiment.prototypes)}",
            expected="one whose output can be stored",
            remedy="choose one such as encoder=egemaps or encoder=hubert_frozen; the others "
            "need no store",
        )
    for name in experiment.extractors:
        print(_embed(experiment, name))
    return 0


def _embed(experiment: "Experiment", name: str) -> str:
    from polymodal.features.extract import fill
    from polymodal.training.progress import Display

    began_s = time.monotonic()
    with Display() as display:
        seen = experiment.survey(
            name, lambda words, done, all_: display.show(f"{words} · {done}/{all_}", done / all_)
        )
        display.say(_plan(name, seen))
    _check_room(seen)
    with Display() as display:
        pace = Pace(name, seen, display)
        fill(seen, num_workers=experiment.config["data"]["extract_workers"], done=pace.step)
    stored, wall_s = seen.features(), time.monotonic() - began_s
    return (
        f"{name}: {len(stored):,} utterances, {stored.num_bytes / 1e6:,.1f} MB in "
        f"{seen.collection.folder}; {pace.num_done:,} computed now, {wall_s:.1f} s{pace.speeds}"
    )


class Pace:
    """Shows how fast a store fills, and how long it will take.

    Args:
        name: The modality.
        seen: What is missing.
        display: Where to say it.
    """

    def __init__(self, name: str, seen: "Survey", display: "Display") -> None:
        self.name, self.display = name, display
        self.num_missing, self.num_done = seen.num_missing, 0
        self.amount, self.amount_done = sum(one.amount for one in seen.missing), 0
        is_audio = seen.extractor.source == "audio"
        self.rate_hz = seen.extractor.sampling_rate_hz if is_audio else None
        self.began_s = time.monotonic()

    def step(self, one: "Missing") -> None:
        """Counts what was stored.

        Args:
            one: It.
        """
        self.num_done += len(one.ids)
        self.amount_done += one.amount
        # By amount: the longest come first, so that counting utterances would promise too much.
        share = self.amount_done / max(1, self.amount)
        words = f"embed · {self.name} · {self.num_done}/{self.num_missing}{self.speeds}"
        self.display.show(words, share, important=self.num_done == self.num_missing)

    @property
    def speeds(self) -> str:
        """Utterances a second, and seconds of audio a second; empty before the first."""
        if not self.num_done:
            return ""
        wall_s = max(time.monotonic() - self.began_s, 1e-9)
        speeds = f" · {self.num_done / wall_s:,.1f} utterances/s"
        if self.rate_hz:
            speeds += f" · {self.amount_done / self.rate_hz / wall_s:,.0f} s of audio/s"
        return speeds


def _plan(name: str, seen: "Survey") -> str:
    num_known = len(seen.keys)
    words = f"{name}: {seen.num_missing:,} of {num_known:,} utterances are missing in the store"
    if seen.missing:
        words += f", about {seen.expected_bytes / 1e6:,.1f} MB"
    if num_without := seen.num_utterances - num_known:
        words += f"; {num_without:,} more have no {seen.extractor.source}"
    return words


def _check_room(seen: "Survey") -> None:
    import shutil

    folder = seen.collection.folder
    existing = next(one for one in (folder, *folder.parents) if one.is_dir())
    needed, free = seen.expected_bytes, shutil.disk_usage(existing).free
    if needed > free:
        raise DataError(
            f"about {needed / 1e9:,.1f} GB are to be stored in {folder}, {free / 1e9:,.1f} GB are "
            "free",
            remedy="free some space (polymodal features --remove --unused 30d), set paths.store "
            "to another folder, or data.store_dtype=bfloat16 for half of it",
        )
