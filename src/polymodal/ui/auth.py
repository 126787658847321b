"""Admit the browser that was given the address, and no page of another site.

A page of another site could send the browser here, with its cookies, or give its own name to our
address (DNS rebinding). So a request must name this machine as its host, come from our own page,
and hold a token that only the printed address has.
"""

import contextlib
import hashlib
import secrets
from email.message import Message
from urllib.parse import urlsplit

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
OWN_PAGES = ("same-origin", "none")  # what a browser says of who asks; "none" is a person


class Access:
    """The token of one server: a secret, random by default."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(24)
        # Cookies do not tell ports apart: servers side by side need names of their own.
        digest = hashlib.sha256(self.token.encode()).hexdigest()
        self.cookie_name = f"polymodal-{digest[:8]}"

    @property
    def cookie(self) -> str:
        """The cookie that the browser gets."""
        return f"{self.cookie_name}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def refusal(self, headers: Message, token: str | None) -> str | None:
        """Return why a request is refused, or None."""
        host, name = headers.get("Host", ""), None
        with contextlib.suppress(ValueError):
            name = urlsplit(f"//{host}").hostname
        if name not in LOOPBACK_NAMES:
            return "This page answers only to 127.0.0.1 and localhost."
        origin = headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            return "Another site asked for this."
        if self.knows(token):
            return None
        if headers.get("Sec-Fetch-Site", "none") not in OWN_PAGES:
            return "Another site asked for this."
        if not self.knows(self._kept(headers.get("Cookie", ""))):
            return "Open the address that `polymodal ui` printed: its token lets you in."
        return None

    def knows(self, token: str | None) -> bool:
        """Return whether a token is ours."""
        return token is not None and secrets.compare_digest(token.encode(), self.token.encode())

    def _kept(self, cookies: str) -> str | None:
        """Return our cookie among those of other servers on this machine."""
        pairs = (cookie.strip().partition("=") for cookie in cookies.split(";"))
        return next((value for name, _, value in pairs if name == self.cookie_name), None)
