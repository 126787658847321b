"""Libraries that ship with the page: known, licensed, unchanged, small."""

import hashlib
import json
import re
from importlib import resources
from pathlib import Path

import pytest

STATIC = Path(str(resources.files("polymodal.ui") / "static"))
VENDOR = STATIC / "vendor"
MANIFEST = json.loads((VENDOR / "manifest.json").read_text(encoding="utf-8"))
OURS = [one for one in STATIC.rglob("*") if one.is_file() and VENDOR not in one.parents]


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: entry["file"])
def test_a_file_is_what_its_maker_published(entry):
    data = (VENDOR / entry["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert entry["version"] in entry["source"]
    assert entry["licence_files"]
    for name in entry["licence_files"]:
        assert (VENDOR / name).stat().st_size > 100


def test_the_manifest_names_every_file():
    named = {name for one in MANIFEST for name in (one["file"], *one["licence_files"])}
    assert {one.name for one in VENDOR.iterdir()} == {*named, "manifest.json"}


def test_all_of_it_is_small():
    assert sum(one.stat().st_size for one in VENDOR.iterdir()) < 2_000_000
    assert sum(one.stat().st_size for one in OURS) < 120_000


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_our_files_name_no_other_host(path):
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(https?:|wss?:|[\"'(])//", text), path


@pytest.mark.parametrize(
    "path", [one for one in OURS if one.suffix == ".js"], ids=lambda path: path.name
)
def test_our_scripts_write_no_html(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)


def test_every_script_is_fetched_at_once():
    """What the first view imports is named in the page, or the browser finds it file by file."""
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    seen, waiting = set(), ["main.js"]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        text = (STATIC / "js" / name).read_text(encoding="utf-8")
        found = re.findall(r'^import [^;]* from "\./([\w.]+)";', text, re.MULTILINE)
        waiting += [one for one in found if one not in seen]
    missing = [one for one in seen if f"/static/js/{one}" not in page]
    assert missing == []
