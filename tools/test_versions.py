"""Runs a part of the suite against the oldest and the newest releases that pyproject.toml allows.

python tools/test_versions.py                    all of them, as `make versions` does
python tools/test_versions.py oldest --with torch==2.13.0
                                                 one of them, some packages held to a release

Each gets an environment of its own in a temporary folder (2 to 7 GB). What passed and what failed
goes to src/polymodal/doctor/tested_versions.json, which `polymodal doctor` compares with what is
installed: a range there is what has really run.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "src" / "polymodal" / "doctor" / "tested_versions.json"
UV = ROOT / ".lock-venv" / "bin" / "uv"
RESOLUTIONS = {"oldest": "lowest-direct", "locked": "", "newest": "highest"}
EXTRAS = (
    *("opensmile", "embedded", "signals", "pretrained"),
    *("wandb", "mlflow", "tensorboard", "alerts"),
)
# Every shipped experiment run briefly, and the rooms that stand directly on the libraries.
TESTS = (
    "tests/experiments/test_shipped.py",
    "tests/training",
    "tests/encoders",
    "tests/layers",
    "tests/models",
    "tests/evaluation",
    "tests/tracking",
)
LAST_LINE = re.compile(r"(\d+) (passed|failed|errors?)")


def project() -> dict[str, Any]:
    """Returns the project table of pyproject.toml."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(found, dict)
    return found


def packages() -> list[str]:
    """Returns the names of what the project asks for itself, the tools of development left out."""
    table = project()
    extras = [table["optional-dependencies"][name] for name in EXTRAS]
    lines = [*table["dependencies"], *(line for extra in extras for line in extra)]
    names = {re.split(r"[\[<>=!~ ]", line)[0].lower() for line in lines}
    return sorted(re.sub(r"[-_.]+", "-", name) for name in names)


def install(folder: Path, resolution: str, held: Sequence[str]) -> Path:
    """Makes an environment with the project and what it needs.

    Args:
        folder: Where it goes.
        resolution: Word of uv's `--resolution`; empty takes the lock.
        held: Requirements that hold packages to a release.

    Returns:
        Its Python.

    Raises:
        subprocess.CalledProcessError: Something cannot be resolved or installed.
    """
    python = folder / "bin" / "python"
    _uv("venv", "--quiet", "--python", sys.executable, str(folder))
    wanted = [f"{ROOT}[{','.join([*EXTRAS, 'dev'])}]", *held]
    if resolution:
        how = ["--resolution", resolution]
    else:
        how = ["--constraint", str(_without_hashes(folder))]
    _uv("pip", "install", "--quiet", "--python", str(python), *how, *wanted)
    return python


def _without_hashes(folder: Path) -> Path:
    """The lock as constraints, which uv takes without hashes only."""
    text = (ROOT / "requirements" / "cpu.txt").read_text(encoding="utf-8")
    lines = [line.rstrip(" \\") for line in text.splitlines() if re.match(r"[a-z0-9]", line)]
    path = folder / "constraints.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _uv(*words: str) -> None:
    links = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.find-links"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    environment = dict(os.environ)
    if links:
        environment.setdefault("UV_FIND_LINKS", links)
    subprocess.run([str(UV), *words], check=True, env=environment)


def versions(python: Path) -> dict[str, str]:
    """Returns what an environment holds of the packages that the project asks for.

    Args:
        python: Its Python.
    """
    code = (
        "import json, sys\nfrom importlib import metadata\nfound = {}\n"
        "for name in json.load(sys.stdin):\n"
        "    try: found[name] = metadata.version(name)\n"
        "    except metadata.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    asked = json.dumps(packages())
    done = subprocess.run(
        [str(python), "-c", code], input=asked, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def run_tests(python: Path, report: Path) -> dict[str, Any]:
    """Runs the part of the suite in an environment.

    Args:
        python: Its Python.
        report: File for what the tests print.

    Returns:
        How many passed and failed, which failed, and the seconds.
    """
    command = [str(python), "-m", "pytest", "-q", "-n", "2", "-m", "not slow", *TESTS]
    began = time.monotonic()
    with report.open("w") as output:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        code = subprocess.run(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode
    lines = report.read_text(encoding="utf-8", errors="replace").splitlines()
    counts = {word: int(number) for number, word in LAST_LINE.findall(lines[-1] if lines else "")}
    failed = [line.split(" ")[1] for line in lines if re.match(r"(FAILED|ERROR) tests", line)]
    return {
        "ok": code == 0,
        "passed": counts.get("passed", 0),
        "failed": sorted(set(failed)),
        "seconds": round(time.monotonic() - began),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Tests some sets of releases and writes the table.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        0 where every set passed, else 1.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of {', '.join(RESOLUTIONS)}")
    parser.add_argument("--with", action="append", default=[], dest="held", metavar="REQUIREMENT")
    arguments = parser.parse_args(argv)
    if unknown := sorted(set(arguments.sets) - set(RESOLUTIONS)):
        parser.error(f"there is no set {unknown[0]!r}; known: {', '.join(RESOLUTIONS)}")
    if not UV.exists():
        parser.error("uv is missing: `make lock` installs it into .lock-venv")
    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    for name in arguments.sets or list(RESOLUTIONS):
        print(f"{name}: installing", flush=True)
        with tempfile.TemporaryDirectory(prefix=f"polymodal-{name}-") as folder:
            python = install(Path(folder), RESOLUTIONS[name], arguments.held)
            found = versions(python)
            print(f"{name}: testing {found}", flush=True)
            result = run_tests(python, Path(tempfile.gettempdir()) / f"polymodal-{name}.log")
        table[name] = {
            "date": datetime.date.today().isoformat(),
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "held": arguments.held,
            **result,
            "versions": found,
        }
        TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {result}", flush=True)
    return 0 if all(table[name]["ok"] for name in arguments.sets or RESOLUTIONS) else 1


if __name__ == "__main__":
    sys.exit(main())
