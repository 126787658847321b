"""`polymodal features`: the list, and a removal that asks."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from polymodal.features.keys import content_key
from polymodal.features.store import FeatureCollection


@pytest.fixture
def store(workplace, monkeypatch):
    """Two extractors, one of which was not used for 40 days."""
    monkeypatch.setenv("POLYMODAL_CACHE", str(workplace))
    for identity, days in (("openSMILE\x1b[31m eGeMAPS", 40), ("transformers HubertModel", 0)):
        collection = FeatureCollection(workplace / "store", identity, 2, "float32")
        collection.put(content_key("a"), np.ones((1, 2), dtype=np.float32))
        then = time.time() - days * 86400
        for path in collection.folder.iterdir():
            os.utime(path, (then, then))
    return workplace / "store"


def identities(polymodal, *words):
    code, out, _ = polymodal("features", "--json", *words)
    assert code == 0
    return [one["identity"].split()[-1] for one in json.loads(out)]


def test_the_store_is_listed(polymodal, store):
    code, out, _ = polymodal("features")
    assert code == 0
    assert "40 d" in out
    assert out.index("HubertModel") < out.index("eGeMAPS")
    assert "\x1b" not in out
    assert identities(polymodal) == ["HubertModel", "eGeMAPS"]
    assert identities(polymodal, "Hubert") == ["HubertModel"]
    assert identities(polymodal, "--unused", "2w") == ["eGeMAPS"]
    assert identities(polymodal, "--unused", "50d") == []


def test_removal_takes_what_is_unused_and_nothing_else(polymodal, store):
    code, out, _ = polymodal("features", "--remove", "--unused", "30d", "--yes")
    assert code == 0
    assert "removed" in out
    assert identities(polymodal) == ["HubertModel"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--remove", "--yes"], "without a selection"),
        (["--remove", "Hubert"], "add --yes"),
        (["--remove", "Hubert", "--json"], "add --yes"),
    ],
)
def test_removal_needs_a_choice_and_a_yes(polymodal, store, words, message):
    code, _, error = polymodal("features", *words)
    assert code == 2
    assert message in error
    assert len(identities(polymodal)) == 2


@pytest.mark.parametrize(("answer", "num_left"), [("y", 1), ("n", 2), ("", 2)])
def test_on_a_terminal_it_asks(polymodal, store, monkeypatch, answer, num_left):
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert polymodal("features", "--remove", "eGeMAPS")[0] == 0
    assert len(identities(polymodal)) == num_left


def test_an_age_that_is_none_is_refused(polymodal, store):
    code, _, error = polymodal("features", "--unused", "30")
    assert code == 2
    assert "12h, 30d or 8w" in error


def test_no_store_is_no_error_and_torch_is_not_needed(workplace):
    code = (
        "import sys; from polymodal.cli.main import main; main(['features', '--store', 'none'])\n"
        "print(sorted({'torch', 'hydra', 'polars'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "polymodal embed" in done.stdout
    assert done.stdout.strip().endswith("[]")
