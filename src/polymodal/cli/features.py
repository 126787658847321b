"""List or prune the feature store of frozen encoders.

polymodal features                          identity, entries, size, last used
polymodal features HubertModel              only identities with this word
polymodal features --remove --unused 30d    remove what was not opened for 30 days, after a prompt

Removed features are computed again when a run needs them. `polymodal embed` fills the store.
"""

import argparse
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.cli._arguments import is_confirmed
from polymodal.cli._format import console, format_bytes, format_duration, plain
from polymodal.errors import ConfigError

if TYPE_CHECKING:
    from polymodal.features.inventory import StoredCollection

UNITS_S = {"h": 3600, "d": 86400, "w": 7 * 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal features`."""
    parser.add_argument("words", nargs="*", metavar="WORD", help="filter identities by words")
    cache = os.environ.get("POLYMODAL_CACHE", "~/.cache/polymodal")
    parser.add_argument(
        "--store", default=f"{cache}/store", metavar="DIR", help="folder of the store (paths.store)"
    )
    parser.add_argument(
        "--unused", type=_age_s, metavar="AGE", help="filter by age, such as 12h, 30d, 8w"
    )
    parser.add_argument(
        "--remove", action="store_true", help="remove what is listed, after a prompt"
    )
    parser.add_argument("--yes", action="store_true", help="do not prompt")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def main(arguments: argparse.Namespace) -> int:
    """List or remove features.

    Raises:
        ConfigError: A removal has no selection, or cannot be confirmed.
        DataError: The folder is not a feature store, or features cannot be removed.
    """
    from polymodal.features.inventory import list_stored, remove

    if arguments.remove and not arguments.words and arguments.unused is None:
        raise ConfigError(
            "--remove without a selection",
            expected="--unused AGE, words of an identity, or both",
            hint="polymodal features --remove --unused 30d",
        )
    store = Path(arguments.store).expanduser()
    chosen = [stored for stored in list_stored(store) if _is_chosen(stored, arguments)]
    if arguments.json:
        print(json.dumps([_as_json(stored) for stored in chosen], indent=1))
    elif chosen:
        _print(chosen)
    else:
        print(f"no matching features in the store {store}; `polymodal embed` fills it")
    size = format_bytes(sum(stored.num_bytes for stored in chosen))
    question, can_prompt = f"remove {len(chosen)} of these, {size}?", not arguments.json
    if arguments.remove and chosen and is_confirmed(question, arguments, can_prompt=can_prompt):
        for stored in chosen:
            remove(stored)
        if not arguments.json:
            print(f"removed {size}")
    return 0


def _age_s(text: str) -> float:
    match = re.fullmatch(r"(\d+)([hdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age such as 12h, 30d or 8w")
    return float(match[1]) * UNITS_S[match[2]]


def _is_chosen(stored: "StoredCollection", arguments: argparse.Namespace) -> bool:
    text = f"{stored.identity} {stored.folder.name}"
    is_old = arguments.unused is None or stored.unused_s >= arguments.unused
    return is_old and all(word in text for word in arguments.words)


def _as_json(stored: "StoredCollection") -> dict[str, object]:
    return {
        "folder": str(stored.folder),
        "identity": stored.identity,
        "dtype": stored.dtype,
        "version": stored.version,
        "is_readable": stored.is_readable,
        "entries": stored.num_entries,
        "bytes": stored.num_bytes,
        "unused_s": round(stored.unused_s),
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
    for stored in chosen:
        identity = plain(stored.identity)
        if not stored.is_readable:
            identity = f"{identity} (format {stored.version}, which this version does not read)"
        size, unused = format_bytes(stored.num_bytes), format_duration(stored.unused_s)
        cells = plain(stored.dtype), f"{stored.num_entries:,}", size, unused
        table.add_row(Text(identity), *cells, stored.folder.name)
    page.print(table)
    total = format_bytes(sum(stored.num_bytes for stored in chosen))
    page.print(f"{total} in {chosen[0].folder.parent}", markup=False, soft_wrap=True)
