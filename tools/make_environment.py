"""Makes .venv from the locked, hashed requirements, with the project in it; `make venv` calls it.

It takes requirements/cpu.txt where PyTorch's CPU build can be had from the places pip is set up to
look in, and requirements/cuda.txt otherwise. Nothing comes in without a hash: the build backend is
installed from its own lock, and no build fetches anything.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from stage import run_stage

OLDEST, NEWEST = (3, 11), (3, 13)
ENVIRONMENT = Path(".venv")
LOCKS = Path("requirements")


def refuse(message: str) -> None:
    """Ends the program with one message and exit code 2.

    Args:
        message: what is wrong and what to do.

    Raises:
        SystemExit: always.
    """
    print(message, file=sys.stderr)
    raise SystemExit(2)


def is_environment_usable() -> bool:
    """Tells whether .venv is there and its pip runs (its Python may have gone since)."""
    if not (ENVIRONMENT / "bin" / "python").exists():
        return False
    return subprocess.run(pip("--version"), capture_output=True, check=False).returncode == 0


def pip(*arguments: str) -> list[str]:
    """Gives the command that runs the environment's pip.

    Args:
        arguments: what follows `pip`.

    Returns:
        Program and arguments; pip asks nothing and does not look for its own updates.
    """
    python = str(ENVIRONMENT / "bin" / "python")
    return [python, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]


def step(name: str, command: list[str], remedy: str) -> None:
    """Runs one step and ends the program where it fails.

    Args:
        name: what the step is called in the output.
        command: program and arguments.
        remedy: what a person can do when it fails.

    Raises:
        SystemExit: the command failed.
    """
    if run_stage(name, command) != 0:
        refuse(f"{name} failed. {remedy}")


def make_empty_environment() -> None:
    """Makes .venv with pip in it, or keeps the one that is there and runs.

    Raises:
        SystemExit: this Python is too old or too new, or it has no venv module that works.
    """
    found = sys.version_info[:2]
    if not OLDEST <= found <= NEWEST:
        refuse(
            f"This is Python {found[0]}.{found[1]}; "
            f"polymodal needs 3.{OLDEST[1]} to 3.{NEWEST[1]}. "
            "Name another one: make venv PYTHON=python3.11"
        )
    if is_environment_usable():
        return
    step(
        "new environment",
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        "On Debian: apt-get install python3-venv, then the same command again.",
    )


def read_pinned_lines(lock: Path, package: str) -> str:
    """Finds the lines of one package in a lock.

    Args:
        lock: a hashed requirements file.
        package: normalised name.

    Returns:
        The line that pins the package and its hashes.

    Raises:
        StopIteration: the lock does not pin the package.
    """
    entries = lock.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    return next(entry for entry in entries if entry.startswith(f"{package}=="))


def is_cpu_build_to_be_had() -> bool:
    """Asks pip for the very wheel of torch that the CPU lock pins, by version and hash.

    The version has a local part (`+cpu`), which no CUDA build has, so asking never fetches one.

    Returns:
        True where pip finds that file.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "torch.txt"
        wanted.write_text(read_pinned_lines(LOCKS / "cpu.txt", "torch"), encoding="utf-8")
        question = pip("install", "--dry-run", "--ignore-installed", "--no-deps")
        question += ["--require-hashes", "-r", str(wanted)]
        answer = subprocess.run(question, capture_output=True, check=False)
    return answer.returncode == 0


def choose_lock(asked: str) -> Path:
    """Chooses the lock to install.

    Args:
        asked: `cpu`, `cuda` or `auto`.

    Returns:
        Path of the lock.
    """
    if asked != "auto":
        return LOCKS / f"{asked}.txt"
    if is_cpu_build_to_be_had():
        print("PyTorch's CPU build can be had here: requirements/cpu.txt")
        return LOCKS / "cpu.txt"
    print("PyTorch's CPU build cannot be had here: requirements/cuda.txt (several GB under Linux)")
    return LOCKS / "cuda.txt"


def install(lock: Path) -> None:
    """Installs the build backend, the lock and the project, in this order.

    Args:
        lock: hashed requirements.

    Raises:
        SystemExit: pip failed.
    """
    # pip is silent for the CPU build (a minute) and shows how far it is where gigabytes come.
    quiet = [] if lock.name == "cuda.txt" and sys.stdout.isatty() else ["-qq"]
    # Half of pip's time would go into byte code for files that nobody imports.
    options = ["--no-compile", "--require-hashes", "--no-build-isolation", "--use-pep517"]
    from_hashes = pip("install", *quiet, *options)
    again = "Read pip's message above, then the same command again: what is installed is kept."
    step("build backend", [*from_hashes, "-r", str(LOCKS / "build.txt")], again)
    step(f"packages of {lock}", [*from_hashes, "-r", str(lock)], again)
    project = pip("install", "-qq", "--no-index", "--no-deps", "--no-build-isolation", "-e", ".")
    step("polymodal itself", project, "Read pip's message above.")
    if sys.dont_write_bytecode:
        compile_packages()


def compile_packages() -> None:
    """Writes the packages' byte code, which Python has been told not to write when it imports.

    Without it every process would compile all that it imports: 13 s for Lightning instead of 6.
    """
    packages = next((ENVIRONMENT / "lib").glob("python*/site-packages"))
    python = str(ENVIRONMENT / "bin" / "python")
    print("==> byte code: written now, as PYTHONDONTWRITEBYTECODE forbids it later", flush=True)
    # It fails for templates that are no Python, which nobody imports.
    command = [python, "-m", "compileall", "-qq", "-j", "0", str(packages)]
    subprocess.run(command, capture_output=True, check=False)


def main() -> None:
    """Makes the environment and leaves a stamp, so that make knows it is done.

    Raises:
        SystemExit: a step failed.
    """
    parser = argparse.ArgumentParser(description="Makes .venv from the locked requirements.")
    parser.add_argument("--lock", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--stamp", type=Path, default=ENVIRONMENT / "installed")
    arguments = parser.parse_args()
    # Another environment's packages on the path would count as installed.
    os.environ.pop("PYTHONPATH", None)
    make_empty_environment()
    lock = choose_lock(arguments.lock)
    install(lock)
    arguments.stamp.write_text(f"{lock}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
