"""A whole run with a secret at every door: no file it leaves holds one of them."""

import json
import subprocess

import pytest

CANARIES = {
    "environment": "c4nary-ENV-77",
    "command line": "c4nary-CLI-77",
    "nested": "c4nary-NESTED-77",
    "list": "c4nary-LIST-77",
    "code": "c4nary-CODE-77",
}
CODE = """
import os
import polars as pl
import torch
from pathlib import Path
from polymodal.schemas.manifest import Manifest
from polymodal.models.base import Model


def read_words(root, *, classes):
    rows = [
        {"utterance_id": f"{s}-{n}", "speaker": f"s{s}", "label": classes[n % 2],
         "text": ["aaa bbb", "ccc ddd"][n % 2]}
        for s in range(6) for n in range(6)
    ]
    return Manifest(pl.DataFrame(rows), Path(root))


class Asking(Model):
    def __init__(self, feature_sizes, num_outputs, *, token=None, service=None, address=None):
        super().__init__(feature_sizes, num_outputs)
        self.linear = torch.nn.Linear(sum(feature_sizes.values()), num_outputs)
        self.token, self.service, self.address, self.asked = token, service, address, 0

    def forward(self, modalities):
        self.asked += self.training
        if self.asked > 3:
            key = os.environ["MY_SERVICE_TOKEN"]
            raise PermissionError(f"401 for {self.token}, {key}, {self.service}")
        return self.linear(torch.cat([one.values.mean(dim=1) for one in modalities.values()], 1))
"""
YAML = {
    "corpus/words.yaml": "_target_: mine.read_words\nroot: .\nclasses: [good, bad]\n",
    "model/asking.yaml": "_target_: mine.Asking\n"
    "token: null\n"
    "address: ${oc.env:MY_SERVICE_TOKEN}\n"
    "service:\n"
    f"  credentials: {{user: {CANARIES['nested']}}}\n"
    f"  headers: ['Authorization: Bearer {CANARIES['list']}']\n",
}
OPTIONS = (
    "corpus=words",
    "encoder=characters",
    "model=asking",
    "trainer.max_epochs=5",
    "trainer.accelerator=cpu",
    "data.max_utterances=12",
)


@pytest.fixture
def project(workplace, monkeypatch):
    """A project under git, with a secret that is not committed."""
    package = workplace / "mine" / "__init__.py"
    package.parent.mkdir()
    package.write_text(CODE)
    for name, text in YAML.items():
        path = workplace / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "a")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@b")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "--no-gpg-sign", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    package.write_text(f"{CODE}\nAPI_KEY = '{CANARIES['code']}'\n")
    monkeypatch.setenv("MY_SERVICE_TOKEN", CANARIES["environment"])
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    return workplace


def test_a_run_that_trains_and_fails_leaves_no_secret(project, process):
    done = process("run", *OPTIONS, f"model.token={CANARIES['command line']}")
    assert done.returncode == 1, done.stderr
    files = [path for path in (project / "runs").rglob("*") if path.is_file()]
    held = {path: path.read_bytes() for path in files}
    for door, canary in CANARIES.items():
        assert [path.name for path, data in held.items() if canary.encode() in data] == [], door
    (folder,) = {path.parent for path in files if path.name == "run.json"}
    written = {path.relative_to(folder).as_posix() for path in files if folder in path.parents}
    assert {"code.diff", "config.yaml", "log.txt", "metrics.jsonl", "overrides.txt"} <= written
    assert any(name.startswith("checkpoints/last") for name in written)
    assert any(path.suffix == ".db" for path in files)
    told = {name: (folder / name).read_text() for name in ("log.txt", "code.diff", "config.yaml")}
    record = json.loads((folder / "run.json").read_text())
    # The doors were open, and what is no secret is still there.
    assert record["status"] == "failed"
    assert record["error"].startswith("PermissionError: 401 for ***, ***, {'credentials': ")
    assert record["command"][1:] == ["run", *OPTIONS, "model.token=***"]
    assert "raise PermissionError" in told["log.txt"]
    assert "+API_KEY = '***'" in told["code.diff"]
    assert "address: ${oc.env:MY_SERVICE_TOKEN}" in told["config.yaml"]
    assert "max_epochs: 5" in told["config.yaml"]
    assert done.stderr.count("c4nary") == 0
