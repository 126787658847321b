"""Validate an experiment without training it.

  polymodal check experiment=sample/fusion
  polymodal check experiment=emodb/egemaps corpus.root=DATA/emodb --full
  polymodal check model.num_heads=5 --json
  polymodal check experiment=mine --effects       options without effect
  polymodal check -m optimizer.lr=0.1,0.01        every job of a sweep
  polymodal check study=sample/fusion_vs_voting   every member of a study, and its votes

It checks keys, values, targets, consistency, the data, and a dry run of the real model on a dummy
batch. `polymodal run` does all of this but the last two.
"""

import argparse
import json
import time
from typing import TYPE_CHECKING

from polymodal.cli._bootstrap import prepare

if TYPE_CHECKING:
    from rich.console import Console

    from polymodal.diagnostics import Diagnostic
    from polymodal.preflight.check import Report

COLOURS = {"error": "red", "warning": "yellow"}
ESTIMATES = {
    "parameters": "{:,} parameters",
    "trainable": "{:,} of them trained",
    "state_mb": "{:,} MB for weights, gradients and the optimiser",
    "activations_mb": "about {:,} MB for a batch in float32",
    "batches_per_epoch": "{:,} batches an epoch",
    "epoch_on_this_cpu_s": "about {:,} s an epoch on this CPU",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal check`."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options, as for run")
    parser.add_argument("-m", "--multirun", action="store_true", help="check every job of a sweep")
    parser.add_argument("--full", action="store_true", help="open every file, not a sample")
    parser.add_argument(
        "--effects", action="store_true", help="change options one by one: which have no effect?"
    )
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def main(arguments: argparse.Namespace) -> int:
    """Print the findings, and return 2 if one of them is an error."""
    started_s = time.monotonic()
    prepare()
    from polymodal.config.resume import with_default_experiment
    from polymodal.preflight.check import check_all
    from polymodal.study.check import check_study, check_sweep, is_study

    overrides = arguments.overrides
    if is_study(overrides):
        check = check_study
    else:
        overrides = with_default_experiment(overrides)
        check = check_sweep if arguments.multirun else check_all
    report = check(overrides, full=arguments.full, with_effects=arguments.effects)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        _print(report, time.monotonic() - started_s)
    return 2 if report.errors else 0


def _print(report: "Report", wall_s: float) -> None:
    from polymodal.cli._format import console

    page = console()
    for finding in report.findings:
        _print_finding(page, finding)
    for note in report.notes:
        page.print(f"note: {note}", style="dim", markup=False, highlight=False)
    for name, member_report in (report.members or {"": report}).items():
        estimates = member_report.estimates.items()
        if lines := [ESTIMATES[key].format(value) for key, value in estimates if key in ESTIMATES]:
            message = f"estimate{f' of {name}' if name else ''}: {', '.join(lines)}"
            page.print(message, markup=False, highlight=False)
    page.print(_verdict(report, wall_s), highlight=False)


def _print_finding(page: "Console", finding: "Diagnostic") -> None:
    from rich.text import Text

    first, *rest = finding.text().splitlines()
    page.print(Text.assemble((finding.severity, COLOURS[finding.severity]), f": {first}"))
    for line in rest:
        page.print(Text(line))


def _verdict(report: "Report", wall_s: float) -> str:
    from polymodal.report.format import pluralise

    errors, warnings = len(report.errors), len(report.findings) - len(report.errors)
    dry_run_s = report.seconds.get("dry run", 0.0)
    took = f"in {wall_s:.1f} s, {dry_run_s:.1f} s of them for the dry run"
    if not report.findings:
        return f"[green]no problems found[/] ({took})"
    colour = "red" if errors else "yellow"
    counts = f"{pluralise(errors, 'error')}, {pluralise(warnings, 'warning')}"
    return f"[{colour}]{counts}[/] ({took})"
