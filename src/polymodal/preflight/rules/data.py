"""The data of an experiment: its rows, labels, folds, leaks and files, before they are needed."""

from collections.abc import Iterator, Mapping
from typing import Any

from polymodal.diagnostics import Diagnostic
from polymodal.errors import MissingCorpusError, UserError
from polymodal.preflight.context import Context
from polymodal.preflight.rules.experiment import check_experiment

SAMPLED = 32  # utterances whose files are opened without --full
COMPARED = 2000  # rows up to which transcripts are compared without --full
STEPS = ("warmup_steps", "num_warmup_steps", "T_max", "total_steps", "step_size", "num_steps")


def check_data(context: Context, *, full: bool = False) -> Iterator[Diagnostic]:
    """Read the corpus, parts it, and looks at what would spoil the training.

    Args:
        context: The experiment; gets `manifest` and `folds`.
        full: Whether every file is opened, not a sample.

    Yields:
        A finding for each fault. A corpus that is not here is a note, where the user has not said
        that it should be.
    """
    if not context.is_sound("corpus", "text"):
        context.notes.append("the data were not checked: the section corpus or text has a fault")
        return
    manifest, findings = _manifest(context, full=full)
    yield from findings
    if manifest is None:
        return
    context.built["manifest"] = manifest
    yield from _sources(context)
    yield from _folds(context)
    yield from _experiment(context)
    yield from _rates(context)
    yield from _budget(context)
    yield from _schedule(context)
    yield from _files(context, full=full)


def _manifest(context: Context, *, full: bool) -> tuple[Any, list[Diagnostic]]:
    from polymodal.config.instantiate import instantiate
    from polymodal.corpora.transcripts import prepare_text
    from polymodal.data.leakage import COLUMN, add_transcript_groups

    try:
        preparation = instantiate(context.config["text"], "text")
        corpus = prepare_text(instantiate(context.config["corpus"], "corpus"), preparation)
        context.built["fingerprint"] = corpus.fingerprint()
        if full or len(corpus) <= COMPARED or COLUMN in str(context.config.get("split")):
            return add_transcript_groups(corpus), []
        context.notes.append("nearly equal transcripts were not looked for; --full does it")
        return corpus, []
    except UserError as error:
        if _is_absent(context, error):
            context.notes.append(f"the data were not checked: {error.message}; {error.hint}")
            return None, []
        return None, [context.refused(error, "corpus", "data")]
    except Exception as error:  # of a reader of the user's project
        message = f"the corpus cannot be read: {type(error).__name__}: {error}"
        return None, [Diagnostic("data", "corpus", message)]


def _is_absent(context: Context, error: UserError) -> bool:
    """Whether a corpus is only not here, in a place that the user has not named."""
    named = ("corpus.root", "paths.data", "corpus.file")
    origins = [context.origins.find(key) for key in named]
    by_user = any(origin is not None and origin.by_user for origin in origins)
    return isinstance(error, MissingCorpusError) and not by_user


def _sources(context: Context) -> Iterator[Diagnostic]:
    """Encoders that find nothing to read, and rows that lack what they read and must not."""
    from polymodal.experiment.readers import apply_missing_policy, count_lacking

    sources = context.built.get("sources") or {}
    if not sources or not context.is_sound("data") or None in sources.values():
        return
    encoders, manifest = _encoders_or_dummies(context), context.built["manifest"]
    counts = count_lacking(manifest.frame, encoders)
    for name, encoder in encoders.items():
        by_signal = {signal: counts.get(f"{name}.{signal}", 0) for signal in encoder.signals}
        listed = ", ".join(f"{signal} {count}" for signal, count in by_signal.items() if count)
        if counts[name]:
            note = f"{counts[name]} of {len(manifest)} utterances lack what encoder.{name} reads"
            context.notes.append(f"{note} ({listed})" if listed else note)
    try:
        context.built["manifest"] = apply_missing_policy(
            manifest, encoders, context.config["data"]["missing"]
        )
    except UserError as error:
        yield context.refused(error, "encoder", "data")


def _encoders_or_dummies(context: Context) -> dict[str, Any]:
    """Return the encoders, and dummies in place of those that are not built."""
    from polymodal.encoders.dummy import DummyEncoder

    built = context.built["encoders"]
    return {
        name: built.get(name) or DummyEncoder(source, feature_size=1)
        for name, source in context.built["sources"].items()
        if source is not None
    }


def _folds(context: Context) -> Iterator[Diagnostic]:
    from polymodal.config.instantiate import instantiate

    if not context.is_sound("split"):
        return
    try:
        folds = instantiate(context.config["split"], "split", manifest=context.built["manifest"])
    except UserError as error:
        yield context.refused(error, "split", "data")
        return
    context.built["folds"] = folds
    yield from _weights(context)
    yield from _leaks(context)


def _experiment(context: Context) -> Iterator[Diagnostic]:
    """The rules that `run` judges by, too."""
    from polymodal.experiment.experiment import Experiment

    built = context.built
    if not {"task", "folds", "scores"} <= {*built} or not context.is_sound("data", "selection"):
        return
    encoders = _encoders_or_dummies(context) if built.get("sources") else {}
    experiment = Experiment(
        context.config,
        built["manifest"],
        built["folds"],
        built["task"],
        built["scores"],
        encoders,
        built["fingerprint"],
        [],
    )
    yield from check_experiment(experiment, context)


def _weights(context: Context) -> Iterator[Diagnostic]:
    """Weights from runs that have seen what the experiment is judged by, or are damaged."""
    manifest, task = context.built["manifest"], context.built.get("task")
    fingerprint = context.built["fingerprint"]
    dependent = bool(context.config["split"].get("speaker_dependent"))
    for name, trained in (context.built.get("trained") or {}).items():
        try:
            assert trained.digests  # reads every checkpoint
            folds = context.built["folds"]
            trained.check(manifest, fingerprint, folds, speaker_dependent=dependent)
        except UserError as error:
            yield context.refused(error, f"encoder.{name}", "weights")
            continue
        names = task.classes or task.values if task is not None else trained.classes
        context.notes += trained.remarks(manifest, fingerprint, names)


def _leaks(context: Context) -> Iterator[Diagnostic]:
    """What test and training rows share, in words; a column that tells the class is a warning."""
    from polymodal.data.leakage import confounds, guess_notes, leakage_report

    report = leakage_report(context.built["manifest"], context.built["folds"])
    warnings, guesses = confounds(report), guess_notes(report)
    for message, hint in warnings.values():
        yield Diagnostic("confound", "split", message, hint=hint, severity="warning")
    for column, shared in report.items():
        if column in warnings:
            continue
        if shared["test_share"] > 0 and column not in guesses:
            context.notes.append(
                f"{shared['test_share']:.0%} of the test rows share their {column} with the "
                "training rows (in the worst fold)"
            )
        elif column in guesses:
            context.notes.append(guesses[column])


def _rates(context: Context) -> Iterator[Diagnostic]:
    """Audio with fewer samples a second than its encoder wants: the upper band is empty."""
    frame = context.built["manifest"].frame
    rates = frame["sampling_rate_hz"].drop_nulls()
    for name, encoder in context.built.get("encoders", {}).items():
        if encoder.source != "audio" or rates.is_empty():
            continue
        low = rates.filter(rates < encoder.sampling_rate_hz)
        if len(low):
            key = f"encoder.{name}"
            option = "sampling_rate_hz" in context.config["encoder"][name]
            yield Diagnostic(
                "sampling rate",
                f"{key}.sampling_rate_hz" if option else key,
                f"{len(low)} of {frame.height} utterances have {low.min()} Hz, and {key} wants "
                f"{encoder.sampling_rate_hz} Hz: what is above {low.min() // 2} Hz is empty",
                hint=f"set {key}.sampling_rate_hz={low.min()} where the encoder has that option",
                severity="warning",
            )


def _budget(context: Context) -> Iterator[Diagnostic]:
    """A budget of a batch that the longest utterance does not fit into."""
    from polymodal.data.loaders import lengths_s

    budget = (context.config.get("data") or {}).get("batch_s")
    longest = float(lengths_s(context.built["manifest"]).max())
    context.built["longest_s"] = longest
    if isinstance(budget, int | float) and 0 < budget < longest:
        message = f"data.batch_s={budget}, but the longest utterance lasts {longest:.1f} s"
        expected = "at least that; longer utterances are a batch of their own"
        hint = f"set data.batch_s={int(longest) + 1} or more"
        yield Diagnostic("budget", "data.batch_s", message, expected, hint, "warning")


def _schedule(context: Context) -> Iterator[Diagnostic]:
    """A schedule with more steps than the training."""
    steps = num_steps(context)
    section = context.config.get("scheduler")
    if steps is None or not isinstance(section, Mapping):
        return
    for name in STEPS:
        value = section.get(name)
        if isinstance(value, int | float) and value > steps:
            key = f"scheduler.{name}"
            message = f"{key}={value}, but the training has about {steps} steps"
            hint = "make it less, or trainer.max_epochs more"
            yield Diagnostic("long schedule", key, message, f"at most {steps}", hint, "warning")


def num_steps(context: Context) -> int | None:
    """Estimate how many steps the optimiser makes in a fold.

    Returns:
        The number; None where something of it is not known.
    """
    batches, trainer = num_batches(context), context.config.get("trainer") or {}
    epochs, each = trainer.get("max_epochs"), trainer.get("accumulate_grad_batches") or 1
    if batches is None or not isinstance(epochs, int) or not isinstance(each, int) or epochs < 1:
        return None
    most = trainer.get("max_steps", -1)
    steps = epochs * max(1, batches // each)
    return min(steps, most) if isinstance(most, int) and most > 0 else steps


def num_batches(context: Context) -> int | None:
    """Count the training batches of an epoch of the first fold.

    Returns:
        The number; None where something of it is not known.
    """
    from polymodal.data.loaders import lengths_s
    from polymodal.data.samplers import LengthBucketSampler

    section, folds = context.config.get("data") or {}, context.built.get("folds")
    budget, most = section.get("batch_s"), section.get("max_utterances")
    if not folds or not isinstance(budget, int | float) or not isinstance(most, int) or budget <= 0:
        return None
    manifest = context.built["manifest"]
    learnt = manifest.frame.filter(folds[0].split_of_rows(manifest.frame) == "train")
    if learnt.is_empty() or most < 1:
        return None
    lengths = lengths_s(manifest.take(learnt)).tolist()
    return len(LengthBucketSampler(lengths, budget=budget, max_utterances=most, shuffle=True))


def _files(context: Context, *, full: bool) -> Iterator[Diagnostic]:
    """Open files behind the manifest; of each rule the first example is shown."""
    from polymodal.corpora.validation.inspection import inspect_manifest

    manifest = context.built["manifest"]
    step = 1 if full else max(1, len(manifest) // SAMPLED)
    inspection = inspect_manifest(manifest.take(manifest.frame.gather_every(step)))
    for rule, issues in inspection.by_rule().items():
        if issues[0].severity == "fault":
            first = f"{issues[0].utterance_id}: {issues[0].detail}"
            hint = "polymodal corpus check opens every file and lists them"
            message = f"{rule} in {len(issues)} of {inspection.num_utterances} utterances: {first}"
            yield Diagnostic(rule, "corpus", message, hint=hint)
    if not full and step > 1:
        seen = inspection.num_utterances
        context.notes.append(f"{seen} of {len(manifest)} utterances were opened; --full opens all")
