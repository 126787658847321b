"""Model card and data card of a run, with the fields of Hugging Face's cards.

They say only what the record knows: what is unknown is named as unknown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from polymodal.evaluation.breakdown import per_class_metrics
from polymodal.report.encoder_origins import origin_rows
from polymodal.report.format import (
    NONE,
    format_score,
    interval,
    markdown,
    strip_control_chars,
    value,
)
from polymodal.report.run_page import SPLITS, RunPage
from polymodal.report.sections import leak_rows

# What the Hub calls our scores; the others keep their names.
METRICS = {"uar": "recall", "accuracy": "accuracy", "macro_f1": "f1", "weighted_f1": "f1"}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
PIPELINES: Mapping[tuple[str, ...], str] = {
    ("speech",): "audio-classification",
    ("text",): "text-classification",
}


@dataclass(frozen=True)
class About:
    """What the record of a run cannot know."""

    licence: str = ""  # as Hugging Face names it; empty if none was chosen
    language: str = ""  # such as `ko`; empty if unknown
    num_models: int = 1  # number of folds with weights


def model_card(page: RunPage, config: Mapping[str, Any], about: About) -> str:
    """Return the README of a model: YAML between two lines of `---`, then Markdown."""
    record = page.record
    sections = [
        f"# {_text(record.experiment)}",
        _summary(page, config, about),
        "## Scores",
        _scores(page),
        "## Data and splits",
        _data(page),
        *_origins(page),
        "## Limits",
        _limits(page, about),
        "## How to use it",
        _use(about),
        "## How it was made",
        _made(page, config),
    ]
    return _front(_model_front(page, config, about)) + "\n\n".join(sections) + "\n"


def data_card(page: RunPage, config: Mapping[str, Any], about: About) -> str:
    """Return the card of the data that a run was trained and tested with, in the same form."""
    data, name = page.record.data, _corpus(page)
    num_rows = int(data.get("rows") or 0)
    size = next((label for limit, label in SIZES if num_rows < limit), "n>1M")
    classes = [["class", "utterances"], *([str(k), f"{v:,}"] for k, v in _classes(page).items())]
    front = {
        "pretty_name": name,
        **({"language": [about.language]} if about.language else {}),
        "size_categories": [size],
        "task_categories": [PIPELINES.get(_modalities(config), "other")],
        "tags": ["emotion-recognition", *_modalities(config)],
    }
    sections = [
        f"# Data of {_text(name)}",
        "None of these data lie in this folder, no id, transcript or recording. Whether they may "
        "be had, and on what terms, is for those to say who publish them.",
        "## What there is",
        markdown(classes) if len(classes) > 1 else "Classes are not known.",
        _facts(page, "rows", "speakers", "fingerprint", "resampled", "lacking"),
        "## What was left out or changed",
        _facts(page, "refused", "handled", "absent_classes"),
        "## Splits and leaks",
        _data(page),
        *_origins(page),
    ]
    return _front(front) + "\n\n".join(sections) + "\n"


def _model_front(page: RunPage, config: Mapping[str, Any], about: About) -> dict[str, Any]:
    """Return the fields by which the Hub finds and shows a model."""
    front: dict[str, Any] = {}
    if about.licence:
        front["license"] = about.licence
    if about.language:
        front["language"] = [about.language]
    front |= {
        "library_name": "polymodal",
        "tags": ["polymodal", "emotion-recognition", *_modalities(config)],
        "metrics": sorted({*map(_metric, _shown(page))}),
    }
    if pipeline := PIPELINES.get(_modalities(config)):
        front["pipeline_tag"] = pipeline
    results = []
    for key, score in _shown(page).items():
        low, high = format_score(score["low"]), format_score(score["high"])
        name = f"{key} [95 % interval {low}, {high}]"
        results.append({"type": _metric(key), "value": score["mean"], "name": name})
    if results:
        task = {"type": pipeline or "other", "name": "emotion recognition"}
        dataset = {"name": _corpus(page), "type": _corpus(page), "split": _split(page)}
        result = {"task": task, "dataset": dataset, "metrics": results}
        front["model-index"] = [{"name": page.record.experiment, "results": [result]}]
    return front


def _summary(page: RunPage, config: Mapping[str, Any], about: About) -> str:
    classes = ", ".join(map(_text, _classes(page)))
    kinds = " and ".join(_modalities(config)) or "no encoder"
    several = ""
    if about.num_models > 1:
        several = f" It is {about.num_models} models, one a fold of the split; "
        several += "their probabilities are averaged."
    ability = f"It tells apart {classes}." if classes else "It predicts values."
    return f"A model of emotion recognition that takes {kinds}. {ability}{several}"


def _scores(page: RunPage) -> str:
    shown = _shown(page)
    if not shown:
        return "**Nothing was scored**: no claim is made of how well it works."
    rows = [["score", "mean [95 % interval]", "utterances"]]
    rows += [[key, interval(score), f"{score['n']:,}"] for key, score in shown.items()]
    drawn = "Intervals are drawn over speakers where four or more are known, else over utterances."
    warned = "" if _split(page) == "test" else " **These rows chose the model: they flatter it.**"
    return f"{markdown(rows)}\n{drawn}{warned}"


def _data(page: RunPage) -> str:
    data = page.record.data
    rows, speakers, folds = (value(data.get(name)) for name in ("rows", "speakers", "folds"))
    paragraphs = [
        f"Corpus: {_text(_corpus(page))}, {rows} utterances of {speakers} speakers, {folds} folds."
    ]
    if data.get("speaker_dependent"):
        paragraphs += [
            "**Training and test share speakers**: scores of new speakers will be lower."
        ]
    if data.get("transductive"):
        methods = value(data["transductive"])
        paragraphs.append(f"**Transductive**: {methods} saw the test rows unlabelled.")
    leaks = leak_rows(data.get("leaks"))
    shared = "Training and test share no speaker, transcript or other column looked for."
    if len(leaks) > 1:
        shared = f"What training shares with test:\n\n{markdown(leaks)}"
    elif data.get("leaks") is None:
        shared = "Whether training and test share speakers or transcripts was not recorded."
    return "\n\n".join([*paragraphs, shared])


def _origins(page: RunPage) -> list[str]:
    rows = origin_rows(page.record)
    if len(rows) == 1:
        return []
    note = "These encoders were trained by runs of their own, on the corpora named here:"
    return ["## Encoders from other runs", f"{note}\n\n{markdown(rows)}"]


def _limits(page: RunPage, about: About) -> str:
    num = (page.first.speakers() if page.first is not None else None) if page.tables else None
    lines = [
        "It was tested on the corpus named above alone; other speakers, languages, microphones and "
        "occasions were not tried.",
        "A label of emotion is a judgement by others of what was heard or read, not what somebody "
        "felt. It is not fit for decisions about people.",
        "One seed: another would score differently." if page.record.seed is not None else "",
        "The language of the data was not told." if not about.language else "",
        "No licence was chosen: ask before you use it." if not about.licence else "",
        f"It was tested on {len({*num})} speakers." if num is not None else "",
    ]
    metrics = per_class_metrics(page.first) if page.first is not None else []
    recalls = [(metric.recall, metric.name) for metric in metrics if metric.recall is not None]
    recall, name = min(recalls, key=lambda pair: pair[0], default=(None, ""))
    if recall is not None:
        lines.append(f"It recognises {_text(name)} worst: recall {format_score(recall)}.")
    if page.record.status != "finished":
        lines.append(f"**The run is {page.record.status}**: it did not come to its end.")
    return "\n".join(f"- {line}" for line in lines if line)


def _use(about: About) -> str:
    weights = "`folds/*/model.safetensors`" if about.num_models > 1 else "`model.safetensors`"
    return (
        "```sh\npip install polymodal\n"
        "polymodal predict FOLDER corpus=table corpus.root=DATA corpus.file=new.csv --out out.csv\n"
        f"```\n\nWeights are {weights}; `config.yaml` holds what prepares the input and builds the "
        "model, `config.json` the names of the labels."
    )


def _made(page: RunPage, config: Mapping[str, Any]) -> str:
    record = page.record
    optimizer, trainer = config.get("optimizer") or {}, config.get("trainer") or {}
    commit = value(record.code.get("commit")) + (" (changed)" * bool(record.code.get("dirty")))
    rows = [
        ["", ""],
        ["run", record.run_id],
        ["parameters", value(record.notes.get("num_parameters"))],
        ["epochs at most", value(trainer.get("max_epochs"))],
        ["learning rate", value(optimizer.get("lr"))],
        ["seed", value(record.seed)],
        ["code", commit],
        ["versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())],
    ]
    return markdown(rows)


def _facts(page: RunPage, *names: str) -> str:
    data = page.record.data
    rows = [["", ""], *([name.replace("_", " "), value(data.get(name)) or NONE] for name in names)]
    return markdown(rows)


def _split(page: RunPage) -> str:
    """Return the split that the card is about: test, else validation."""
    scored = {key.partition("/")[0] for key in page.intervals}
    return next((split for split in SPLITS if split in scored), SPLITS[0])


def _shown(page: RunPage) -> dict[str, dict[str, float | int]]:
    start = f"{_split(page)}/"
    return {key: score for key, score in page.intervals.items() if key.startswith(start)}


def _metric(key: str) -> str:
    name = key.rpartition("/")[2]
    return METRICS.get(name, name)


def _corpus(page: RunPage) -> str:
    return page.record.experiment.partition("/")[0]


def _classes(page: RunPage) -> dict[str, int]:
    return dict(page.record.data.get("classes") or {})


def _modalities(config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(name) for name in config.get("encoder") or ())


def _text(text: object) -> str:
    """Escape Markdown: a name may come from somebody else."""
    return re.sub(r"[\\`*_\[\]<>#|]", r"\\\g<0>", strip_control_chars(text))


def _front(values: Mapping[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)}---\n\n"
