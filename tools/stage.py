"""Runs named stages for the Makefile: says what starts, how it ended and how long it took.

`stage.py run NAME -- COMMAND...` runs one command; `stage.py all TARGET...` runs make targets in
turn, stops at the first that fails and ends with a summary.
"""

import os
import subprocess
import sys
import time


def run_stage(name: str, command: list[str]) -> int:
    """Runs one command and prints its name, its end and its time.

    Args:
        name: what the command is called in the output.
        command: program and arguments.

    Returns:
        The exit code of the command; 127 where there is no such program.
    """
    print(f"==> {name}: {' '.join(command)}", flush=True)
    start_s = time.monotonic()
    # A CI machine has nobody who could answer a question.
    stdin = subprocess.DEVNULL if os.environ.get("CI") else None
    try:
        code = subprocess.run(command, stdin=stdin, check=False).returncode
    except FileNotFoundError:
        print(f"There is no program {command[0]}.", file=sys.stderr)
        code = 127
    end = "done" if code == 0 else f"FAILED with exit code {code}"
    print(f"==> {name}: {end}, {time.monotonic() - start_s:.1f} s", flush=True)
    return code


def run_all(targets: list[str]) -> int:
    """Runs make targets in turn and stops at the first that fails.

    Args:
        targets: names of targets, in order.

    Returns:
        0, or the exit code of the target that failed.
    """
    start_s = time.monotonic()
    times = []
    for target in targets:
        target_start_s = time.monotonic()
        code = subprocess.run(["make", "--no-print-directory", target], check=False).returncode
        times.append(f"{target} {time.monotonic() - target_start_s:.1f} s")
        if code != 0:
            print(f"==> FAILED at {target} ({len(times)} of {len(targets)}): {', '.join(times)}")
            return code
    total_s = time.monotonic() - start_s
    print(f"==> all {len(targets)} stages passed in {total_s:.1f} s: {', '.join(times)}")
    return 0


def main(arguments: list[str]) -> int:
    """Reads the command line and runs what it asks for.

    Args:
        arguments: the command line without the program's name.

    Returns:
        The exit code; 2 where the command line makes no sense.
    """
    match arguments:
        case ["run", name, "--", *command] if command:
            return run_stage(name, command)
        case ["all", *targets] if targets:
            return run_all(targets)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
