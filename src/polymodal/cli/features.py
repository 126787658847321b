"""Lists what frozen encoders have stored, and removes what is no longer used.

polymodal features                          identity, entries, size, last used
polymodal features HubertModel              only those with this word
polymodal features --remove --unused 30d    asks, then removes what nobody opened for 30 days

Whatever is removed is computed again when a run needs it. `polymodal embed` fills the store.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.cli.runs import console, number_of_bytes, plain, span
from polymodal.errors import ConfigError

if TYPE_CHECKING:
    from polymodal.features.inventory import StoredCollection

UNITS_S = {"h": 3600, "d": 86400, "w": 7 * 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal features`."""
    parser.add_argument("words", nargs="*", metavar="WORD", help="only identities with all words")
    cache = os.environ.get("POLYMODAL_CACHE", "~/.cache/polymodal")
    parser.add_argument(
        "--store", default=f"{cache}/store", metavar="DIR", help="folder of the store (paths.store)"
    )
    parser.add_argument(
        "--unused", type=_span_s, metavar="AGE", help="only what was not opened for 12h, 30d, 8w"
    )
    parser.add_argument("--remove", action="store_true", help="remove what is listed; asks before")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def main(arguments: argparse.Namespace) -> int:
    """List or removes.

    Raises:
        ConfigError: Removal was asked for without saying of what, or cannot be confirmed here.
        DataError: The folder is no feature store, or something cannot be removed.
    """
    from polymodal.features.inventory import list_stored, remove

    if arguments.remove and not arguments.words and arguments.unused is None:
        raise ConfigError(
            "--remove without saying what",
            expected="--unused AGE, words of an identity, or both",
            hint="polymodal features --remove --unused 30d",
        )
    store = Path(arguments.store).expanduser()
    chosen = [one for one in list_stored(store) if _is_chosen(one, arguments)]
    if arguments.json:
        print(json.dumps([_as_json(one) for one in chosen], indent=1))
    elif chosen:
        _print(chosen)
    else:
        print(f"nothing like that in the feature store {store}; `polymodal embed` fills it")
    if arguments.remove and chosen and _is_confirmed(chosen, arguments):
        for one in chosen:
            remove(one)
        if not arguments.json:
            print(f"removed {number_of_bytes(sum(one.num_bytes for one in chosen))}")
    return 0


def _span_s(word: str) -> float:
    match = re.fullmatch(r"(\d+)([hdw])", word)
    if match is None:
        raise argparse.ArgumentTypeError(f"{word!r} is no age such as 12h, 30d or 8w")
    return float(match[1]) * UNITS_S[match[2]]


def _is_chosen(one: "StoredCollection", arguments: argparse.Namespace) -> bool:
    text = f"{one.identity} {one.folder.name}"
    is_old = arguments.unused is None or one.unused_s >= arguments.unused
    return is_old and all(word in text for word in arguments.words)


def _is_confirmed(chosen: "Sequence[StoredCollection]", arguments: argparse.Namespace) -> bool:
    if arguments.yes:
        return True
    if arguments.json or not sys.stdin.isatty():
        raise ConfigError(
            "nobody can be asked whether to remove these", hint="add --yes, where you are sure"
        )
    size = number_of_bytes(sum(one.num_bytes for one in chosen))
    return input(f"remove {len(chosen)} of these, {size}? [y/N] ").strip().lower() in ("y", "yes")


def _as_json(one: "StoredCollection") -> dict[str, object]:
    return {
        "folder": str(one.folder),
        "identity": one.identity,
        "dtype": one.dtype,
        "version": one.version,
        "is_readable": one.is_readable,
        "entries": one.num_entries,
        "bytes": one.num_bytes,
        "unused_s": round(one.unused_s),
    }


def _print(chosen: "Sequence[StoredCollection]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    page = console()
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    table.add_column("identity", overflow="fold")
    for name in ("numbers", "entries", "size", "unused for", "folder"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in chosen:
        identity = plain(one.identity)
        if not one.is_readable:
            identity = f"{identity} (format {one.version}, which this version does not read)"
        size, unused = number_of_bytes(one.num_bytes), span(one.unused_s)
        table.add_row(
            Text(identity), plain(one.dtype), f"{one.num_entries:,}", size, unused, one.folder.name
        )
    page.print(table)
    total = number_of_bytes(sum(one.num_bytes for one in chosen))
    page.print(f"{total} in {chosen[0].folder.parent}", markup=False, soft_wrap=True)
