"""Parts of a page that a run and a study share: leaks, what each modality adds, worst errors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polymodal.report import charts, html
from polymodal.report.format import MINUS, NONE, as_finite, format_score, interval


@dataclass(frozen=True)
class PlayableExample:
    """What an utterance was.

    Args:
        words: Its transcript; None where there is none.
        audio: Its sound as the address of a player, such as `data:audio/wav;base64,...`.
    """

    words: str | None = None
    audio: str | None = None


ExampleLoader = Callable[[Sequence[str]], Mapping[str, PlayableExample]]
Scores = Mapping[str, Mapping[str, Any]]  # name to mean, low and high


def leaks(found: Mapping[str, Any] | None) -> str:
    """Return what the parts of the data share, as a table.

    Args:
        found: As of `leak_rows`.
    """
    if not found:
        return "" if found is None else "<p>The parts share nothing that was looked for.</p>"
    return html.table(leak_rows(found), words=(0,))


def leak_rows(found: Mapping[str, Any] | None) -> list[list[str]]:
    """Return what the parts of the data share.

    Args:
        found: Column to the number of folds, of values and the share of test rows; None where it
            is not known.

    Returns:
        A heading, then a row a column.
    """
    rows = [["training shares with test", "folds", "values", "share of the test rows"]]
    for column, told in (found or {}).items():
        one = told if isinstance(told, Mapping) else {"values": told}  # of an early version
        counts = [str(one.get(name, NONE)) for name in ("folds", "values")]
        share = as_finite(one.get("test_share"))
        rows.append([str(column), *counts, NONE if share is None else f"{100 * share:.1f} %"])
    return rows


def contribution_rows(whole: Mapping[str, Any], subsets: Scores) -> list[list[str]]:
    """Return what a model scores where only some of its modalities are given.

    Args:
        whole: The score with all of them.
        subsets: Modalities, joined by `+`, to the score.

    Returns:
        A heading, then a row a subset, with what it lacks of the whole.
    """
    rows = [["given", "score", f"{MINUS} with all"], ["all", interval(whole), NONE]]
    every = as_finite(whole.get("mean"))
    for name, score in sorted(subsets.items(), key=lambda one: (one[0].count("+"), one[0])):
        mean = as_finite(score.get("mean"))
        lacks = NONE if mean is None or every is None else format_score(mean - every, signed=True)
        rows.append([name.replace("+", " + "), interval(score), lacks])
    return rows


def contributions(whole: Mapping[str, Any], subsets: Scores, label: str) -> str:
    """Return what each modality adds: a picture and a table.

    Args:
        whole: The score with all modalities.
        subsets: Modalities, joined by `+`, to the score.
        label: Name of the score.
    """
    estimates: Sequence[charts.Estimate] = [
        charts.Estimate(
            name.replace("+", " + "), mean, as_finite(one.get("low")), as_finite(one["high"])
        )
        for name, one in {"all": whole, **subsets}.items()
        if (mean := as_finite(one.get("mean"))) is not None
    ]
    if len(estimates) < 2:
        return ""
    note = "One model, trained on all; it is given these modalities only. Mean and 95 % interval."
    drawn = html.figure(charts.forest_plot(estimates, f"{label} by modalities"), note)
    return drawn + html.table(contribution_rows(whole, subsets), words=(0,))


def no_examples(ids: Sequence[str]) -> Mapping[str, PlayableExample]:
    """Knows of no utterance what it was."""
    return {}


def errors(worst: Sequence[Mapping[str, Any]], heard: ExampleLoader) -> str:
    """Return what was said of utterances that were not recognised, with their words and sound.

    Args:
        worst: `utterance_id`, `speaker`, `label`, `predicted` and `sure` of each.
        heard: Reads what utterances were, by id; those that it does not know are left out.
    """
    if not worst:
        return "<p>Every utterance was recognised.</p>"
    known = heard([str(row["utterance_id"]) for row in worst])
    rows = [["utterance", "speaker", "true", "said", "sure", ""]]
    for row in worst:
        one = known.get(str(row["utterance_id"]), PlayableExample())
        player = f'<audio controls preload="none" src="{html.escape_html(one.audio)}"></audio>'
        told = html.escape_html(one.words or "") + (f"<br>{player}" if one.audio else "")
        cells = [row["utterance_id"], row.get("speaker") or NONE, row["label"], row["predicted"]]
        rows.append([*map(str, cells), format_score(row["sure"]), told])
    return html.table(rows, words=(0, 1, 2, 3, 5), raw=True)
