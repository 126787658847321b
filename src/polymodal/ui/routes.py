"""The requests that the page makes, and their responses."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from polymodal import __version__
from polymodal.errors import RunError, UserError
from polymodal.report.blocks import Block, Listing, document, paragraph
from polymodal.tracking.filters import matches, parse, validate_keys
from polymodal.ui.config_index import ConfigIndex
from polymodal.ui.metrics import read_points
from polymodal.ui.responses import Response, as_json
from polymodal.ui.run_index import Run, RunIndex
from polymodal.ui.subprocesses import Subprocesses

Query = Mapping[str, Sequence[str]]
MAX_KEYS = 100  # columns, scores or runs of one question
MAX_COMPARED = 12
KINDS = {".html": "html", ".csv": "csv", ".md": "plain", ".tex": "plain"}
REPORT_FILES = {suffix: f"text/{kind}; charset=utf-8" for suffix, kind in KINDS.items()}
# A report is from a run folder, which may be anybody's: it may show, and do nothing.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class Routes:
    """Answer requests about the runs of some folders.

    Raises:
        RunError: A folder cannot be read.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.collection = RunIndex(roots)
        self.options = ConfigIndex(self.collection)
        self.programs = Subprocesses()
        self.questions: Mapping[str, Callable[[Query], Response]] = {
            "/api/about": self.about,
            "/api/runs": self.runs,
            "/api/filter": self.filter,
            "/api/options": lambda query: as_json(self.options.list_options()),
            "/api/columns": self.columns,
            "/api/run": self.run,
            "/api/points": self.points,
            "/api/compare": self.compare,
            "/trackio": self.trackio,
        }

    def answer(self, path: str, query: Query) -> Response | None:
        """Answer one request; None if there is no such path.

        Raises:
            UserError: What it asks for does not exist, or it is invalid.
        """
        if path.startswith("/report/"):
            return self.report(path.removeprefix("/report/"))
        question = self.questions.get(path)
        return None if question is None else question(query)

    def about(self, query: Query) -> Response:
        """Return folders, version, and for which folders there is a database of trackio."""
        roots = self.collection.roots
        return as_json(
            {
                "version": __version__,
                "roots": [str(root) for root in roots],
                "trackio": [index for index, root in enumerate(roots) if _database(root).is_dir()],
            }
        )

    def runs(self, query: Query) -> Response:
        """Return what has changed since a version."""
        since, most = _whole_number(query, "since"), _whole_number(query, "most")
        return as_json(self.collection.changes_since(since, _first(query, "instance") or "", most))

    def filter(self, query: Query) -> Response:
        """Return the keys of the runs that match filters such as `status=failed`."""
        filters = parse(list(query.get("word", ()))[:MAX_KEYS])
        asks_config = any(condition.asks_config for condition in filters)
        if asks_config:
            self.options.wait()
        runs = [*self.collection.runs.values()]
        records = [run.record for run in runs]
        configs = [self.options.config(run) if asks_config else {} for run in runs]
        validate_keys([condition.key for condition in filters], records, configs)
        pairs = zip(runs, configs, strict=True)
        keys = [run.key for run, config in pairs if matches(run.record, filters, config)]
        return as_json({"keys": keys})

    def columns(self, query: Query) -> Response:
        """Return the values of some options for all runs."""
        return as_json(self.options.columns(list(query.get("key", ()))[:MAX_KEYS]))

    def run(self, query: Query) -> Response:
        """Return all that is known of one run."""
        run = self._run(query)
        overrides = self.collection.file(run, "overrides.txt")
        try:
            lines = overrides.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return as_json(
            {
                "key": run.key,
                "record": run.record.to_dict(),
                "options": self.options.of(run),
                "overrides": lines[:MAX_KEYS],
                "folder": str(self.collection.folder(run)),
                "report": f"/report/{run.root}/{quote(run.folder)}/report.html",
            }
        )

    def points(self, query: Query) -> Response:
        """Return new points of some scores of one run."""
        path = self.collection.file(self._run(query), "metrics.jsonl")
        names = list(query.get("name", ()))[:MAX_KEYS]
        return as_json(read_points(path, _whole_number(query, "from"), names))

    def compare(self, query: Query) -> Response:
        """Return whether the difference of some runs is significant."""
        keys = list(dict.fromkeys(query.get("key", ())))
        if not 2 <= len(keys) <= MAX_COMPARED:
            raise RunError(f"{len(keys)} runs", expected=f"2 to {MAX_COMPARED} of them")
        folders = [self.collection.folder(self.collection.find(key)).resolve() for key in keys]
        return as_json({"comparisons": self.programs.compare(folders, _first(query, "score"))})

    def trackio(self, query: Query) -> Response:
        """Redirect the browser to trackio's own page."""
        root = _whole_number(query, "root")
        roots = self.collection.roots
        database = _database(roots[root]) if root < len(roots) else Path()
        if root >= len(roots) or not database.is_dir():
            raise RunError("trackio has no database here", hint="run with tracker=trackio")
        address = self.programs.trackio(database)
        return Response(b"", "text/plain", 303, {"Location": address})

    def report(self, rest: str) -> Response | None:
        """Return a file of a report: `ROOT/FOLDER/report.html` or `ROOT/FOLDER/tables/...`."""
        root, _, rest = rest.partition("/")
        folder, _, name = rest.partition("/")
        run = self.collection.find(f"{root}/{folder}")
        path = self.collection.file(run, name)
        kind = REPORT_FILES.get(path.suffix)
        is_page = name == "report.html"
        is_table = path.parent.name == "tables" and name.count("/") == 1 and path.suffix != ".html"
        if kind is None or not (is_page or is_table):
            return None
        headers = {"Content-Security-Policy": REPORT_POLICY}
        if is_page:
            try:
                if not self.programs.report(self.collection.folder(run).resolve()):
                    return _waiting(run, {**headers, "Refresh": "1"})
            except RunError as error:
                return _failed(run, error, headers)
        try:
            return Response(path.read_bytes(), kind, headers=headers)
        except OSError:
            return None

    def close(self) -> None:
        """Stop all processes that were started."""
        self.programs.close()

    def _run(self, query: Query) -> Run:
        return self.collection.find(_first(query, "key") or "")


def refused(error: UserError) -> Response:
    """Return the response to a request that cannot be answered."""
    body = {"error": error.message, "expected": error.expected, "remedy": error.hint}
    return as_json(body, status=400)


def _waiting(run: Run, headers: Mapping[str, str]) -> Response:
    text = paragraph(
        f"The report of {run.record.name} is being made. ",
        "It takes some seconds, and then appears here.",
    )
    return _small_page("Report", [text], headers, 200)


def _failed(run: Run, error: RunError, headers: Mapping[str, str]) -> Response:
    blocks = [
        paragraph(f"The report of {run.record.name} could not be made:"),
        Listing(error.message),
        paragraph("Load this page anew to try again."),
    ]
    return _small_page("No report", blocks, headers, 500)


def _small_page(
    title: str, blocks: Sequence[Block], headers: Mapping[str, str], status: int
) -> Response:
    text = document(title, "", blocks, ())
    return Response(text.encode(), REPORT_FILES[".html"], status, headers)


def _database(root: Path) -> Path:
    """Return where the tracker writes: see `tracking.trackers.trackio`."""
    return Path(os.environ.get("TRACKIO_DIR") or root.resolve() / ".trackio")


def _first(query: Query, name: str) -> str | None:
    return next(iter(query.get(name, ())), None)


def _whole_number(query: Query, name: str) -> int:
    text = _first(query, name) or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise RunError(f"{name}={text[:40]!r}", expected="a number from 0 on")
    return int(text)
