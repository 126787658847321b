"""Send a message when a run has ended, failed, or reached a score; failures harm no run."""

import contextlib
import json
import smtplib
import threading
import urllib.request
import warnings
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import Any, Protocol, runtime_checkable

from polymodal.errors import ConfigError, MissingExtraError

TIMEOUT_S = 10.0
WAITED_S = 15.0
ENDS = ("finished", "failed", "interrupted")


@runtime_checkable
class Channel(Protocol):
    """A way to send messages; it may raise, or take long."""

    def send(self, title: str, text: str) -> None:
        """Send a message."""


class NullChannel:
    """Send nothing."""

    def send(self, title: str, text: str) -> None:
        """Do nothing."""


class Webhook:
    """Post JSON with the key `text`, as Slack, Mattermost and Rocket.Chat take it.

    Args:
        webhook: The address; secret, so best given as `${oc.env:NAME}`.

    Raises:
        ConfigError: It is not an HTTP address.
    """

    def __init__(self, webhook: str) -> None:
        if not str(webhook).startswith(("https://", "http://")):
            raise ConfigError("alert.webhook is not an address", expected="https://...")
        self.webhook = webhook

    def send(self, title: str, text: str) -> None:
        """Send a message.

        Raises:
            OSError: It cannot be delivered.
        """
        body = json.dumps({"text": f"*{title}*\n{text}"}).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "polymodal"}
        request = urllib.request.Request(self.webhook, body, headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            pass


class Email:
    """Send an e-mail.

    Args:
        sender: Address of the sender.
        recipients: Addresses.
        host: Mail server.
        port: Its port.
        user: Login; None for no login.
        password: Password; best given as `${oc.env:NAME}`.
        encryption: `starttls`, `tls` from the first byte on, or `none`.

    Raises:
        ConfigError: `encryption` is unknown, or the password would be sent unencrypted.
    """

    def __init__(
        self,
        sender: str,
        recipients: Sequence[str],
        host: str = "localhost",
        port: int = 587,
        user: str | None = None,
        password: str | None = None,
        encryption: str = "starttls",
    ) -> None:
        if encryption not in ("starttls", "tls", "none"):
            raise ConfigError(f"alert.encryption={encryption}", expected="starttls, tls or none")
        if user and encryption == "none":
            raise ConfigError("alert.user without encryption", hint="set alert.encryption=tls")
        self.sender, self.recipients, self.host, self.port = sender, [*recipients], host, port
        self.user, self.password, self.encryption = user, password, encryption

    def send(self, title: str, text: str) -> None:
        """Send a message.

        Raises:
            OSError: It cannot be delivered.
        """
        message = EmailMessage()
        message["From"], message["To"] = self.sender, ", ".join(self.recipients)
        message["Subject"] = " ".join(title.split())
        message.set_content(text)
        kind = smtplib.SMTP_SSL if self.encryption == "tls" else smtplib.SMTP
        with kind(self.host, self.port, timeout=TIMEOUT_S) as server:
            if self.encryption == "starttls":
                server.starttls()
            if self.user:
                server.login(self.user, self.password or "")
            server.send_message(message)


class Apprise:
    """Send to any of the services that `apprise` knows.

    Args:
        credential_urls: Its addresses, such as `tgram://TOKEN/CHAT`; best as `${oc.env:NAME}`.
    """

    def __init__(self, credential_urls: Sequence[str]) -> None:
        self.credential_urls = [*credential_urls]

    def send(self, title: str, text: str) -> None:
        """Send a message.

        Raises:
            MissingExtraError: apprise is not installed.
            OSError: It cannot be delivered to all.
        """
        try:
            import apprise
        except ImportError:
            raise MissingExtraError("apprise", "alerts") from None
        sender = apprise.Apprise()
        added = [sender.add(url) for url in self.credential_urls]
        if not all(added) or not sender.notify(body=text, title=title):
            raise OSError("apprise could not deliver it to all addresses")


class Alerts:
    """The alerts of one run.

    Args:
        channel: Where to send them.
        name: Name of the run in messages.
        ends: Which ends are sent: `finished`, `failed`, `interrupted`.
        above: Score to the bound that is sent, once, when it is reached.
        below: The same for scores that are better when lower.

    Raises:
        ConfigError: There is no such end.
    """

    def __init__(
        self,
        channel: Channel,
        name: str,
        ends: Sequence[str] = ENDS,
        above: Mapping[str, float] | None = None,
        below: Mapping[str, float] | None = None,
    ) -> None:
        if unknown := [end for end in ends if end not in ENDS]:
            raise ConfigError(f"alert.ends has {unknown[0]!r}", expected=f"of {', '.join(ENDS)}")
        self.channel, self.name, self.ends = channel, name, [*ends]
        self.bounds = {name: (bound, 1) for name, bound in (above or {}).items()}
        self.bounds |= {name: (bound, -1) for name, bound in (below or {}).items()}
        self.threads: list[threading.Thread] = []
        self.failed = False

    def check(self, scores: Mapping[str, float | None]) -> None:
        """Send each score that has reached its bound, once."""
        for name in self.bounds.keys() & scores.keys():
            (bound, sign), value = self.bounds[name], scores[name]
            if value is not None and sign * value >= sign * bound:
                del self.bounds[name]
                self._send(f"{self.name}: {name} is {value:.4g}", f"The bound was {bound:g}.")

    def end(self, status: str, scores: Mapping[str, float | None], error: str | None) -> None:
        """Send how the run ended, its scores and its error; wait a moment for all messages."""
        self.check(scores)
        if status in self.ends:
            lines = [
                f"{name} {value:.4g}" for name, value in sorted(scores.items()) if value is not None
            ]
            self._send(f"{self.name} {status}", "\n".join([*([error] if error else []), *lines]))
        for thread in self.threads:
            thread.join(WAITED_S)

    def _send(self, title: str, text: str) -> None:
        # Daemons: a channel that hangs must not keep the process from ending.
        thread = threading.Thread(target=self._try, args=(title, text), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _try(self, title: str, text: str) -> None:
        try:
            self.channel.send(title, text)
        except Exception as error:  # an alert must never stop a run
            if not self.failed:
                self.failed = True
                with contextlib.suppress(Warning):  # python -W error would stop the thread
                    why = f"{type(error).__name__}: {error}".splitlines()[0]
                    warnings.warn(f"an alert could not be sent ({why})", stacklevel=2)

    def __getstate__(self) -> dict[str, Any]:
        # Another process tells nothing: the one that began the run does.
        return {**vars(self), "bounds": {}, "ends": [], "threads": []}
