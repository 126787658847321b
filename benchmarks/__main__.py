"""Runs benchmarks by name, or all: `python -m benchmarks [NAME ...] [--list] [--rehearse]`."""

import sys

from benchmarks import device
from benchmarks.measure import BENCHMARKS, ON_GPU, report


def main(names: list[str]) -> int:
    """Runs the benchmarks, prints their tables and writes their results.

    Args:
        names: Which ones; all where there is none. With `--rehearse` those of a GPU only walk its
            way on the CPU, and nothing is measured.

    Returns:
        0, or 2 for an unknown name.
    """
    if "--list" in names:
        print("\n".join(f"{name:<10} {about.__doc__}" for name, about in BENCHMARKS.items()))
        return 0
    device.rehearsed = "--rehearse" in names
    names = [name for name in names if name != "--rehearse"]
    if unknown := [name for name in names if name not in BENCHMARKS]:
        print(f"there is no benchmark {unknown[0]!r}; known: {', '.join(BENCHMARKS)}")
        return 2
    for name in [*(names or ON_GPU)] if device.rehearsed else []:
        BENCHMARKS[name]()
        print(f"{name}: the way of a GPU is free; nothing was measured")
    for name in [] if device.rehearsed else names or BENCHMARKS:
        report(name, BENCHMARKS[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
