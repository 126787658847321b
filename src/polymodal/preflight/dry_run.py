"""One synthetic batch through the real model: does it learn, and is what is waited for logged?"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polymodal.config.run_encoders import FROM_RUN
from polymodal.diagnostics import Diagnostic, from_error
from polymodal.errors import MissingExtraError, OutputShapeError, UserError
from polymodal.preflight.context import Context
from polymodal.preflight.rules.data import num_batches
from polymodal.security.targets import resolve_target

SHOWN = 5
MAX_MB = 400.0  # of a pretrained model that is built for a dry run
NEEDED = (
    *("seed", "encoder", "model", "task", "loss", "scores", "optimizer", "scheduler", "balance"),
    *("trainer", "data"),
)


def check_dry_run(context: Context) -> tuple[list[Diagnostic], dict[str, Any]]:
    """Train and validate on a few utterances of noise with the real components, on the CPU.

    Args:
        context: The experiment, its parts built as far as possible.

    Returns:
        The findings, and what was measured; nothing where a part has a fault.
    """
    broken = [section for section in NEEDED if not context.is_sound(section)]
    if broken or "task" not in context.built:
        context.notes.append(f"no dry run: {', '.join(broken or ['task'])} has a fault")
        return [], {}
    from polymodal.experiment.dummy_data import dry_run

    corpus = context.built.get("manifest")
    config = {**context.config, "encoder": _encoders(context)}
    try:
        with tempfile.TemporaryDirectory() as folder:
            seen = dry_run(
                config, context.built["task"], context.built["scores"], Path(folder), corpus
            )
    except MissingExtraError as error:
        encoder = f"encoder.{next(iter(config['encoder']))}"
        return [context.refused(error, _raised_by(error, context, encoder), "missing package")], {}
    except OutputShapeError as error:
        return [from_error(error, "dry run", error.section)], {}
    except UserError as error:
        return [context.refused(error, _raised_by(error, context), "dry run")], {}
    except Exception as error:  # whatever the parts raise
        return [_failed(error, context)], {}
    return list(_findings(seen, context)), _estimates(seen, context)


def _encoders(context: Context) -> dict[str, Any]:
    """Return the encoders, with stand-ins for pretrained ones that are large or not here."""
    sections = {}
    for name, section in context.config["encoder"].items():
        if section.get(FROM_RUN):
            section = _of_run(name, context)
        target = resolve_target(section["_target_"], f"encoder.{name}", context.projects)
        source, reason = context.built["sources"][name], _too_large(target, section)
        if source == "signals" and not _has_signals(context):
            source = "text"  # which every dummy row has
            reason = "no row of the corpus with signals could be read"
        if reason is not None:
            context.notes.append(
                f"encoder.{name} ({section.get('name') or section['_target_']}) was left out "
                f"of the dry run: {reason}; random features took its place"
            )
            section = {
                "_target_": "polymodal.encoders.dummy.DummyEncoder",
                "source": source,
            }
        sections[name] = section
    return sections


def _of_run(name: str, context: Context) -> Mapping[str, Any]:
    """An encoder from a run: as it is trained on, or random features in place of stored ones."""
    trained = context.built["trained"].get(name)
    if trained is not None and not trained.asked.is_frozen:
        section: Mapping[str, Any] = trained.section
        return section
    return {
        "_target_": "polymodal.encoders.dummy.DummyEncoder",
        "source": context.built.get("sources", {}).get(name) or "audio",
        "feature_size": context.built["widths"][name],
    }


def _has_signals(context: Context) -> bool:
    """Whether signals of the corpus can be taken, as only these show their names and widths."""
    corpus = context.built.get("manifest")
    return corpus is not None and bool((corpus.frame["signals"].list.len() > 0).any())


def _too_large(target: Any, section: Mapping[str, Any]) -> str | None:
    """Why an encoder is not built here; None where it is."""
    size_mb = target.weights_mb(section) if hasattr(target, "weights_mb") else 0.0
    if size_mb is None:
        return "its weights are not a folder here"
    return f"its weights are {size_mb:.0f} MB" if size_mb > MAX_MB else None


def _findings(seen: Any, context: Context) -> Iterator[Diagnostic]:
    if seen.loss != seen.loss or abs(seen.loss) == float("inf"):
        yield Diagnostic("loss", "loss", f"the loss of noise is {seen.loss}", "a finite number")
    for section, names in _by_section(seen.unreached, context).items():
        shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        yield Diagnostic(
            "no gradient",
            section,
            f"{len(names)} trainable parameters get no gradient: {shown}",
            "every trainable parameter is reached",
            "take them out, use their output, or freeze them with requires_grad_(False)",
            "warning",
        )
    if seen.infinite:
        shown = ", ".join(seen.infinite[:SHOWN])
        yield Diagnostic("gradient", "model", f"the gradient of {shown} is not finite")
    for key in seen.reads_padding:
        yield Diagnostic(
            "reads padding",
            key,
            f"{key} has another output for an utterance alone than in a batch with longer ones",
            "values under the padding (False in valid_mask) change no output",
            "use valid_mask wherever frames are averaged, normalised, convolved or attended to",
            "warning",
        )
    yield from _unlogged(seen.logged, context)


def _unlogged(logged: list[str], context: Context) -> Iterator[Diagnostic]:
    """Monitors of which nothing was logged, although nothing was wrong with their names."""
    for name, section in (context.config.get("callbacks") or {}).items():
        monitor = section.get("monitor") if isinstance(section, Mapping) else None
        if isinstance(monitor, str) and monitor not in logged and "val/" in monitor:
            key = f"callbacks.{name}.monitor"
            shown = ", ".join(score for score in logged if score.startswith("val/"))
            yield Diagnostic(
                "not logged", key, f"{key}={monitor} was not logged", f"one of {shown}"
            )


def _by_section(names: list[str], context: Context) -> dict[str, list[str]]:
    """Parameters by the section that they belong to: `encoder.speech`, `model`, `loss`, ..."""
    result: dict[str, list[str]] = {}
    for name in names:
        first, _, rest = name.partition(".")
        section = f"encoder.{rest.partition('.')[0]}" if first == "encoders" else first
        is_section = section.partition(".")[0] in context.config
        result.setdefault(section if is_section else "model", []).append(name)
    return result


def _failed(error: Exception, context: Context) -> Diagnostic:
    """What an exception of another program's code says, with the part that raised it."""
    first = (str(error).strip().splitlines() or [""])[0]
    key = _raised_by(error, context)
    message = f"a dummy batch cannot be trained: {type(error).__name__}: {first}"
    return Diagnostic("dry run", key, message, hint=f"correct what {key} names")


def _raised_by(error: Exception, context: Context, default: str = "model") -> str:
    """The innermost part, ours or the user's, that a traceback goes through."""
    modules, frame = [], error.__traceback__
    while frame is not None:
        modules.append(str(frame.tb_frame.f_globals.get("__name__", "")))
        frame = frame.tb_next
    key_of_module = {
        resolve_target(str(section["_target_"]), key, context.projects).__module__: key
        for key, section in _targets(context.config)
        if key != "trainer"  # it runs whatever fails
    }
    return next(
        (key_of_module[module] for module in reversed(modules) if module in key_of_module), default
    )


def _targets(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, section in config.items():
        if isinstance(section, Mapping) and "_target_" in section:
            yield key, section
        elif isinstance(section, Mapping):
            for name, option in section.items():
                if isinstance(option, Mapping) and "_target_" in option:
                    yield f"{key}.{name}", option


def _estimates(seen: Any, context: Context) -> dict[str, Any]:
    """Memory and time of the training, from those of one step."""
    from polymodal.experiment.dummy_data import BATCH_S

    values: dict[str, Any] = {
        "parameters": seen.num_parameters,
        "trainable": seen.num_trainable,
        "state_mb": round(seen.state_mb, 1),
        "step_s": round(seen.step_s, 3),
    }
    budget = context.config["data"].get("batch_s")
    if isinstance(budget, int | float):
        values["activations_mb"] = round(seen.saved_mb * budget / BATCH_S, 1)
        batches = num_batches(context)
        if batches is not None:
            larger = _larger(context, batches, seen.num_utterances)
            values["batches_per_epoch"] = batches
            values["epoch_on_this_cpu_s"] = round(seen.step_s * batches * max(1.0, larger), 1)
    return values


def _larger(context: Context, batches: int, num_utterances: int) -> float:
    """Return how many times as large a batch of the corpus is as that of the dry run."""
    from polymodal.data.loaders import lengths_s
    from polymodal.experiment.dummy_data import BATCH_S

    manifest, fold = context.built["manifest"], context.built["folds"][0]
    learnt = manifest.take(manifest.frame.filter(fold.split_of_rows(manifest.frame) == "train"))
    if context.built.get("encoders"):
        return float(lengths_s(learnt).sum()) / batches / BATCH_S
    return len(learnt) / batches / max(1, num_utterances)  # one vector an utterance
