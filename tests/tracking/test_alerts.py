"""Alerts reach a server on loopback; one that fails harms no run, and no address is recorded."""

import json
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from polymodal.errors import ConfigError
from polymodal.tracking.alerts import Alerts, Apprise, Email, NullChannel, Webhook

SMALL = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "split.val=0.3",
    "trainer.max_epochs=2",
    "tracker=none",
]


def served(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def hook():
    """A webhook: its address, and what it was told."""
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            told.append(json.loads(self.rfile.read(length))["text"])
            self.send_response(500 if "broken" in self.path else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = served(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    yield f"http://127.0.0.1:{server.server_port}", told
    server.shutdown()
    server.server_close()


@pytest.fixture
def mailbox():
    """A mail server that takes everything: its port, and the letters."""
    letters = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                word = line.split()[0].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    letter = b""
                    while (line := self.rfile.readline()) != b".\r\n":
                        letter += line
                    letters.append(letter.decode())
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 yes\r\n")
                if word == b"QUIT":
                    return

    server = served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler))
    yield server.server_address[1], letters
    server.shutdown()
    server.server_close()


def test_a_run_tells_of_a_score_and_of_its_end_and_keeps_the_address(polymodal, hook):
    address, told = hook
    secret = f"{address}/services/canary-token"
    bound = "alert.above={val/uar: 0.0}"
    code, _, error = polymodal(
        "run", *SMALL, "alert=webhook", f"alert.channel.webhook={secret}", bound
    )
    assert code == 0, error
    assert [one.splitlines()[0] for one in told] == [
        f"*sample/text: {told[0].split()[1]} is {told[0].split()[3]}",
        "*sample/text finished*",
    ]
    assert told[0].startswith("*sample/text: val/uar is ")
    assert "test/uar " in told[1]
    files = [path for path in Path("runs").rglob("*") if path.is_file()]
    assert [path for path in files if b"canary-token" in path.read_bytes()] == []


def test_a_run_that_fails_says_what_of(polymodal, hook, monkeypatch):
    address, told = hook
    monkeypatch.setenv("POLYMODAL_WEBHOOK", address)
    monkeypatch.setattr(
        "polymodal.runs.train.fit_fold", lambda *_: (_ for _ in ()).throw(ValueError("no luck"))
    )
    assert polymodal("run", *SMALL, "alert=webhook")[0] == 1
    assert told == ["*sample/text failed*\nValueError: no luck"]


@pytest.mark.parametrize("path", ["broken", None])
def test_an_alert_that_fails_is_one_warning(hook, path):
    address = f"{hook[0]}/broken" if path else "http://127.0.0.1:9"
    alerts = Alerts(Webhook(address), "x", above={"val/uar": 0.5})
    with pytest.warns(UserWarning, match="an alert could not be sent") as caught:
        alerts.end("finished", {"val/uar": 0.6}, None)  # two messages
    assert len(caught) == 1


def test_no_step_waits_for_a_channel(monkeypatch):
    sign = threading.Event()

    class Slow(NullChannel):
        def send(self, title, text):
            sign.wait(20)

    monkeypatch.setattr("polymodal.tracking.alerts.WAITED_S", 0.05)
    alerts = Alerts(Slow(), "x", above={"val/uar": 0.5})
    began = time.monotonic()
    alerts.check({"val/uar": 0.6})
    alerts.end("finished", {}, None)
    assert time.monotonic() - began < 10
    sign.set()


class Kept(NullChannel):
    def __init__(self):
        self.told = []

    def send(self, title, text):
        self.told.append(title)


def test_each_bound_is_told_once_in_its_direction():
    channel = Kept()
    alerts = Alerts(channel, "x", ends=["failed"], above={"a": 0.5}, below={"b": 0.2})
    for a, b in ((0.4, 0.3), (0.5, None), (0.9, 0.2), (0.95, 0.1)):
        alerts.check({"a": a, "b": b})
    alerts.end("finished", {"a": 1.0}, None)
    assert sorted(channel.told) == ["x: a is 0.5", "x: b is 0.2"]


def test_a_letter_arrives(mailbox):
    port, letters = mailbox
    mail = Email("a@x.org", ["b@x.org"], host="127.0.0.1", port=port, encryption="none")
    mail.send("run\nfinished", "test/uar 0.7")
    assert "Subject: run finished" in letters[0]
    assert "test/uar 0.7" in letters[0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Webhook("file:///etc/passwd"), "not an address"),
        (lambda: Email("a", ["b"], encryption="ssl"), "starttls, tls or none"),
        (lambda: Email("a", ["b"], user="c", encryption="none"), "without encryption"),
        (lambda: Alerts(NullChannel(), "x", ends=["done"]), "'done'"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_apprise_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    alerts = Alerts(Apprise(["json://127.0.0.1"]), "x")
    with pytest.warns(UserWarning, match="apprise"):
        alerts.end("finished", {}, None)
