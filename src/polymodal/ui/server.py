"""The server: on this machine only, and it only reads.

It is Python's own, with a thread per connection: one person looks at one page.
"""

import sys
import traceback
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from polymodal.errors import RunError, UserError
from polymodal.ui.auth import Access
from polymodal.ui.pages import Pages
from polymodal.ui.responses import Response, as_json
from polymodal.ui.routes import Routes, refused

LOOPBACK = "127.0.0.1"
FIRST_PORT, NUM_PORTS = 8642, 20
MAX_FIELDS = 500  # of a query
IDLE_S = 60.0
# Scripts, styles, pictures and questions: all from here.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Server(ThreadingHTTPServer):
    """Serve one page.

    Args:
        roots: Folders of runs.
        port: 0 for any; None for the first free one from `FIRST_PORT` on.

    Raises:
        RunError: The port is taken, or a folder of runs cannot be read.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, roots: list[Path], port: int | None = None) -> None:
        self.access, self.pages = Access(), Pages()
        ports = [port] if port is not None else [*range(FIRST_PORT, FIRST_PORT + NUM_PORTS)]
        for index, number in enumerate(ports, start=1):
            try:
                super().__init__((LOOPBACK, number), Handler)
                break
            except OSError as error:
                if index == len(ports):
                    raise _taken(ports, error) from None
        self.routes = Routes(roots)

    @property
    def address(self) -> str:
        """Address of the page, with its token."""
        return f"http://{LOOPBACK}:{self.server_port}/?token={self.access.token}"

    def server_close(self) -> None:
        """Stop the server, and all processes that it has started."""
        super().server_close()
        if hasattr(self, "routes"):
            self.routes.close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a browser that has gone."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    """Answer the requests of a connection, one after another."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "polymodal", ""
    timeout = IDLE_S

    def do_GET(self) -> None:
        """Answer."""
        self._say(self._answer())

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self._say(self._answer(), body=False)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Reject methods other than GET and HEAD (code 501), and what is not HTTP."""
        self.close_connection = True  # a body may follow, which nobody reads
        if code == HTTPStatus.NOT_IMPLEMENTED:
            body = as_json({"error": "this server only reads: GET and HEAD"})
            self._say(Response(body.body, body.kind, 405, {"Allow": "GET, HEAD"}))
        else:
            self._say(as_json({"error": message or "no HTTP"}, status=code))

    @property
    def _page(self) -> Server:
        assert isinstance(self.server, Server)
        return self.server

    def _answer(self) -> Response:
        try:
            address = urlsplit(self.path)
            path = unquote(address.path, errors="strict")
            query = parse_qs(address.query, max_num_fields=MAX_FIELDS, errors="strict")
        except ValueError:
            return as_json({"error": "this address cannot be read"}, status=400)
        token = next(iter(query.get("token", ())), None)
        refusal = self._page.access.refusal(self.headers, token)
        if refusal is not None:
            return Response(refusal.encode(), "text/plain; charset=utf-8", 403)
        try:
            response = self._static(path) or self._page.routes.answer(path, query)
        except UserError as error:
            return refused(error)
        except OSError:
            raise
        except Exception:
            traceback.print_exc()
            return as_json({"error": "the server made a mistake: see its terminal"}, status=500)
        return response or as_json({"error": "there is nothing here"}, status=404)

    def _static(self, path: str) -> Response | None:
        if path == "/":
            page = self._page.pages.get("index.html")
            assert page is not None
            cookie = {"Set-Cookie": self._page.access.cookie, "Cache-Control": "no-store"}
            return Response(page.body, page.kind, headers=cookie)
        value = self._page.pages.get(path.removeprefix("/static/")) if "/static/" in path else None
        if value is not None and self.headers.get("If-None-Match") == value.headers["ETag"]:
            return Response(b"", value.kind, 304, value.headers)
        return value

    def _say(self, answer: Response, *, body: bool = True) -> None:
        headers = getattr(self, "headers", {})  # none before they are read
        if "gzip" in headers.get("Accept-Encoding", ""):
            answer = answer.packed
        self.send_response(answer.status)
        for name, value in {**HEADERS, **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if body and answer.status != 304:
            self.wfile.write(answer.body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing: the terminal is the user's."""


def _taken(ports: list[int], error: OSError) -> RunError:
    if len(ports) == 1:
        return RunError(
            f"port {ports[0]} cannot be used: {error.strerror}",
            hint="name another with --port, or leave it out: the next free one is taken",
        )
    return RunError(
        f"no port from {ports[0]} to {ports[-1]} can be used: {error.strerror}",
        hint="name one with --port, or 0 for any",
    )
