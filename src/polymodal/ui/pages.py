"""The static files of the package: the page, its scripts, and the libraries it draws with."""

import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

from polymodal.ui.responses import Response

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Pages:
    """The static files, read once."""

    def __init__(self) -> None:
        root = resources.files("polymodal.ui") / "static"
        self.files = dict(_below(root, ""))
        self._packed: dict[str, Response] = {}

    def get(self, name: str) -> Response | None:
        """Return a file by its path below `static`, or None."""
        file = self.files.get(name)
        if file is None:
            return None
        if name not in self._packed:
            body = file.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
            headers = {"ETag": etag, "Cache-Control": "no-cache"}
            kind = KINDS.get(name[name.rfind(".") :], "text/plain; charset=utf-8")
            self._packed[name] = Response(body, kind, headers=headers)
        return self._packed[name]


def _below(folder: Traversable, prefix: str) -> list[tuple[str, Traversable]]:
    result: list[tuple[str, Traversable]] = []
    for path in folder.iterdir():
        name = prefix + path.name
        result += _below(path, f"{name}/") if path.is_dir() else [(name, path)]
    return result
