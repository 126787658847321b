"""Name runs: project, a description of what differs, and uniqueness."""

import contextlib
import fcntl
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from polymodal.tracking.redaction import HIDDEN, redact_words
from polymodal.tracking.run_folder import slug

TAKEN = ".names"  # a file beside the run folders: a line for each name
LONGEST_VALUE, LONGEST_NAME = 40, 120
# Not a difference between experiments: folders, devices, alerts, speed.
SECTIONS = ("experiment", "paths", "tracker", "alert", "resume", "hydra", "stages")
KEYS = (
    *("corpus.root", "corpus.prepared", "corpus.file", "split.file", "data.num_workers"),
    *("data.timeout_s", "data.cache_mb", "data.extract_workers", "data.reuse_prefix"),
    *("trainer.accelerator", "trainer.devices"),
)


def project_name(choices: Mapping[str, str]) -> str:
    """Return the project that trackers file a run under: model and corpus.

    Example:
        >>> project_name({"model": "fusion/cross_attention", "corpus": "emodb"})
        'cross_attention-emodb'
    """
    return slug("-".join(choices[group].rpartition("/")[2] for group in ("model", "corpus")))


def describe_overrides(overrides: Sequence[str], left_out: Sequence[str] = ()) -> str:
    """Describe what differs from an experiment's defaults, without secrets; empty if nothing does.

    Example:
        >>> describe_overrides(["experiment=emodb/egemaps", "optimizer.lr=1e-4"])
        'lr=1e-4'
        >>> describe_overrides(["encoder=[hubert,bert]", "encoder.text.dropout=0.1"])
        'encoder=hubert+bert dropout=0.1'
    """
    pairs: dict[str, str] = {}
    for word in redact_words(overrides):
        key, _, value = word.lstrip("+~").partition("=")
        if key.partition(".")[0] in SECTIONS or key in (*KEYS, *left_out) or HIDDEN in word:
            continue
        pairs.pop(key, None)
        pairs[key] = _short(value) or "none"
    last_words = [key.rpartition(".")[2] for key in pairs]
    descriptions = []
    for key, value in pairs.items():
        before, _, last = key.rpartition(".")
        # The word before it tells apart keys that end in the same.
        parent = before.rpartition(".")[2] if last_words.count(last) > 1 else ""
        name = f"{parent}.{last}" if parent else last.removeprefix("num_")
        descriptions.append(f"{name}={value}")
    return _printable(" ".join(descriptions))[:LONGEST_NAME].rstrip()


def unique_run_name(runs: Path, project: str, name: str) -> str:
    """Reserve a name in a project, with a number added if it is taken."""
    wished = own = _printable(name) or "run"
    # An unusable folder is reported where the run folder is made.
    with contextlib.suppress(OSError):
        runs.mkdir(parents=True, exist_ok=True)
        with (runs / TAKEN).open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
            file.seek(0)
            taken, number = set(file.read().splitlines()), 1
            while f"{project}\t{own}" in taken:
                number += 1
                own = f"{wished} ({number})"
            file.write(f"{project}\t{own}\n")
    return own


def _short(value: str) -> str:
    plain = re.sub(r"[\[\]{}'\"\s]", "", value).replace(",", "+")
    return plain if len(plain) <= LONGEST_VALUE else plain[: LONGEST_VALUE - 1] + "…"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
