"""Where the encoders of a run come from: the runs that have trained them, and on what."""

from collections.abc import Mapping
from typing import Any

from polymodal.report.blocks import Block, Code, Heading, Phrase, Table
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
    """Return where the encoders come from as a table."""
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


def origins(record: RunRecord) -> list[Block]:
    """Return the table of `origin_rows`, every digest with its full form on hover."""
    heading, *rows = origin_rows(record)
    if not rows:
        return []
    table: list[list[str | Block]] = [[*heading]]
    for row in rows:
        digests = _digests(record.encoders[row[0]])
        codes = [Code(digest[:DIGITS_SHOWN], digest) for digest in digests]
        spaced = [item for code in codes for item in (code, " ")]
        cells: list[str | Block] = [*row[:-1], Phrase(spaced)]
        table.append(cells)
    return [Heading("Encoders from other runs"), Table(table, range(len(HEADING)))]


def _sentence(encoder: Mapping[str, Any], record: RunRecord) -> str:
    phrases = [strip_control_chars(encoder.get("run")), strip_control_chars(encoder.get("mode"))]
    if encoder.get("layer") is not None:
        phrases.append(f"layer {strip_control_chars(encoder['layer'])}")
    corpus = encoder.get("corpus")
    if corpus and corpus != record.data.get("corpus", corpus):
        phrases.append(f"trained on another corpus: {strip_control_chars(corpus)}")
    phrases.append(pluralise(len(_digests(encoder)), "checkpoint"))
    return ", ".join(phrases)


def _digests(encoder: Mapping[str, Any]) -> list[str]:
    return [str(digest) for digest in encoder.get("digests") or ()]
