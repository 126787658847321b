"""The configurations of all runs: which options differ, and what each run has.

Most runs share most sections of their configuration, character by character: each is parsed once.
"""

import json
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from polymodal.errors import UserError
from polymodal.report.format import as_finite
from polymodal.security.paths import resolve_inside
from polymodal.tracking.config_diff import flatten, read_config
from polymodal.ui.run_index import Run, RunIndex

HIDDEN_SECTIONS = ("hydra", "paths")  # they say nothing about the experiment
SECTION = re.compile(r"^(?=[\w\"'.-]+:)(?!-)", re.MULTILINE)
MAX_VALUE = 200  # characters
MAX_BYTES = 2_000_000  # of a configuration


class Section(NamedTuple):
    """One section of a configuration."""

    nested: Any  # its values as they are written
    flat: Mapping[str, Any]  # dotted key to value: text, a number, a truth value or None


class ConfigIndex:
    """The options of the runs of a collection, whose configurations are read when first needed."""

    def __init__(self, collection: RunIndex) -> None:
        self.collection = collection
        # A run whose record was written anew is another one: its configuration may be, too.
        self.known: dict[str, tuple[Run, dict[str, Section]]] = {}
        self._sections: dict[str, Section | None] = {}
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Read what is not known yet, in a thread."""
        with self._lock:
            busy = self._reader is not None and self._reader.is_alive()
            if not busy and self._unknown():
                self._reader = threading.Thread(target=self._read_all, daemon=True)
                self._reader.start()

    def wait(self) -> None:
        """Wait until all configurations are read."""
        self.start()
        if (reader := self._reader) is not None:
            reader.join()

    def list_options(self) -> dict[str, Any]:
        """Return how many runs are read of how many, and the number of values of each option."""
        self.start()
        runs = [*self._known().values()]
        values: dict[str, set[Any]] = {}
        distinct = {id(section): section for run in runs for section in run.values()}
        for section in distinct.values():
            for key, value in section.flat.items():
                values.setdefault(key, set()).add((type(value) is bool, value))
        options = [{"key": key, "values": len(values[key])} for key in sorted(values)]
        return {"done": len(runs), "total": len(self.collection.runs), "options": options}

    def columns(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values of some options.

        Returns:
            `runs`, their keys, and `columns`: dotted key to a list of values in the same order,
            None if a run has none.
        """
        self.start()
        configs = self._known()
        columns: dict[str, list[Any]] = {key: [] for key in keys}
        for sections in configs.values():
            for key, values in columns.items():
                section = sections.get(key.partition(".")[0])
                values.append(section.flat.get(key) if section else None)
        return {"runs": [*configs], "columns": columns}

    def of(self, run: Run) -> dict[str, Any]:
        """Return all options of one run."""
        sections = self._sections_of(run)
        return {key: value for section in sections.values() for key, value in section.flat.items()}

    def config(self, run: Run) -> dict[str, Any]:
        """Return the nested configuration of one run, for filters."""
        return {name: section.nested for name, section in self._sections_of(run).items()}

    def _known(self) -> dict[str, dict[str, Section]]:
        """Return the existing runs whose configuration was read."""
        runs = dict(self.collection.runs)
        for key in [stale for stale in self.known if stale not in runs]:
            self.known.pop(key, None)
        return {key: self.known[key][1] for key in runs if key in self.known}

    def _unknown(self) -> list[Run]:
        runs = [*self.collection.runs.values()]
        return [run for run in runs if self.known.get(run.key, (None,))[0] is not run]

    def _read_all(self) -> None:
        for run in self._unknown():
            self._sections_of(run)

    def _sections_of(self, run: Run) -> dict[str, Section]:
        entry = self.known.get(run.key)
        if entry is not None and entry[0] is run:
            return entry[1]
        result = self._read(run)
        # One that has just begun may not have written it yet: it is asked again.
        if result or run.record.status != "running":
            self.known[run.key] = run, result
        return result

    def _read(self, run: Run) -> dict[str, Section]:
        folder = self.collection.folder(run)
        try:
            path = resolve_inside(folder, "config.yaml")
            if path.stat().st_size > MAX_BYTES:
                return {}
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError, UserError):
            return {}
        sections: dict[str, Section] = {}
        for text_of_section in SECTION.split(text):  # before each line that begins with a key
            if text_of_section.strip() in ("", "---"):
                continue
            name = text_of_section.partition(":")[0].strip("\"'")
            if name in HIDDEN_SECTIONS:
                continue
            if text_of_section not in self._sections:
                self._sections[text_of_section] = _parsed(name, text_of_section)
            section = self._sections[text_of_section]
            if section is None:  # such as an alias of another section: then all at once
                config = read_config(folder)
                return {str(key): _section(str(key), value) for key, value in config.items()}
            sections[name] = section
        return sections


def _parsed(name: str, text: str) -> Section | None:
    import yaml

    try:
        values = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (ValueError, yaml.YAMLError, RecursionError):
        return None
    if not isinstance(values, Mapping) or [*values] != [name]:
        return None
    return _section(name, values[name])


def _section(name: str, nested: Any) -> Section:
    return Section(nested, {key: _shown(value) for key, value in flatten(nested, name)})


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, bool | int) or as_finite(value) is not None:
        return value
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text[:MAX_VALUE]
