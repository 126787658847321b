"""An experiment, prepared and judged: what every command that trains or tests begins with."""

from collections.abc import Mapping, Sequence
from typing import Any

from polymodal.config.provenance import Provenance
from polymodal.data.folds import Fold
from polymodal.experiment.components import build_balance
from polymodal.experiment.experiment import Experiment
from polymodal.preflight.check import Report, raise_if_errors
from polymodal.preflight.context import Context
from polymodal.preflight.rules.experiment import check_experiment


def prepare_experiment(
    config: Mapping[str, Any],
    num_trained: int | None = None,
    stored: tuple[Sequence[Fold], str] | None = None,
    planned: Mapping[str, Mapping[str, Any]] | None = None,
) -> Experiment:
    """Prepare an experiment, build its components once, and reject it if they do not fit.

    Args:
        config: The composed configuration, resolved and checked.
        num_trained: As of `Experiment.prepare`; nothing is trained then.
        stored: As of `Experiment.prepare`.
        planned: As of `Experiment.prepare`.

    Raises:
        UserError: A component rejects its options, or rows, folds and options do not fit.
    """
    experiment = Experiment.prepare(config, num_trained, stored, planned)
    sizes = experiment.feature_sizes(experiment.prototypes)
    experiment.build_model(experiment.prototypes)
    build_balance(config["balance"], sizes, experiment.task)
    if num_trained is None:
        experiment.build_loss(Fold(0, {}))
    report = Report()
    context = Context(config)
    report.add(check_experiment(experiment, context, training=num_trained is None), Provenance())
    raise_if_errors(report)
    return experiment
