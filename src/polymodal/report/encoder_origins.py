"""Where the encoders of a run come from: the runs that have trained them, and on what."""

from collections.abc import Mapping
from typing import Any

from polymodal.report import html
from polymodal.report.format import NONE, pluralise, strip_control_chars, value
from polymodal.schemas.run_record import RunRecord

DIGITS_SHOWN = 12  # of a SHA-256
HEADING = ["encoder", "run", "mode", "layer", "pooling", "trained on", "classes", "checkpoints"]


def origin_sentences(record: RunRecord) -> dict[str, str]:
    """Return in words where each encoder that was taken from a run comes from.

    Returns:
        Modality to a phrase; the corpus is named where it is another one.

    Example:
        >>> speech = {"run": "r1", "mode": "frozen", "layer": 6, "digests": ["ab", "cd"]}
        >>> origin_sentences(RunRecord("r2", "r2", encoders={"speech": speech}))
        {'speech': 'r1, frozen, layer 6, 2 checkpoints'}
    """
    return {
        name: _sentence(encoder, record) for name, encoder in record.encoders.items() if encoder
    }


def origin_rows(record: RunRecord) -> list[list[str]]:
    """Return where the encoders come from as a table.

    Returns:
        A heading, then a row an encoder, its last cell the shortened digests of its checkpoints.
    """
    rows = [
        [
            name,
            *(
                value(encoder.get(key)) or NONE
                for key in ("run", "mode", "layer", "pooling", "corpus")
            ),
            value(encoder.get("classes")) or NONE,
            " ".join(digest[:DIGITS_SHOWN] for digest in _digests(encoder)) or NONE,
        ]
        for name, encoder in record.encoders.items()
        if encoder
    ]
    return [list(HEADING), *rows]


def origins(record: RunRecord) -> str:
    """Return the table of `origin_rows` as HTML; a pointer on a digest shows all of it.

    Returns:
        HTML; empty where no encoder comes from a run.
    """
    rows = origin_rows(record)
    if len(rows) == 1:
        return ""
    for row in rows[1:]:
        digests = _digests(record.encoders[row[0]])
        row[-1] = " ".join(
            f'<code title="{html.escape_html(digest)}">'
            f"{html.escape_html(digest[:DIGITS_SHOWN])}</code>"
            for digest in digests
        )
    table = html.table(rows, words=range(len(HEADING)), raw=True)
    return f"<h3>Encoders from other runs</h3>{table}"


def _sentence(one: Mapping[str, Any], record: RunRecord) -> str:
    phrases = [strip_control_chars(one.get("run")), strip_control_chars(one.get("mode"))]
    if one.get("layer") is not None:
        phrases.append(f"layer {strip_control_chars(one['layer'])}")
    corpus = one.get("corpus")
    if corpus and corpus != record.data.get("corpus", corpus):
        phrases.append(f"trained on another corpus: {strip_control_chars(corpus)}")
    phrases.append(pluralise(len(_digests(one)), "checkpoint"))
    return ", ".join(phrases)


def _digests(one: Mapping[str, Any]) -> list[str]:
    return [str(digest) for digest in one.get("digests") or ()]
