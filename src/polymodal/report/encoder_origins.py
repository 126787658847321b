"""The runs that have trained the encoders of a run, and their data."""

from collections.abc import Mapping
from typing import Any

from polymodal.report.blocks import Block, Code, Heading, Phrase, Table
from polymodal.report.format import NONE, pluralise, strip_control_chars, value
from polymodal.schemas.run_record import RunRecord

DIGITS_SHOWN = 12  # of a SHA-256
HEADING = ["encoder", "run", "mode", "layer", "pooling", "trained on", "classes", "checkpoints"]


def origin_sentences(record: RunRecord) -> dict[str, str]:
    """Describe the origin of each encoder that was taken from a run, with its corpus if it differs.

    Example:
        >>> speech = {"run": "r1", "mode": "frozen", "layer": 6, "digests": ["ab", "cd"]}
        >>> origin_sentences(RunRecord("r2", "r2", encoders={"speech": speech}))
        {'speech': 'r1, frozen, layer 6, 2 checkpoints'}
    """
    encoders = record.encoders.items()
    return {name: _sentence(encoder, record) for name, encoder in encoders if encoder}


def origin_rows(record: RunRecord) -> list[list[str]]:
    """Return the origins of the encoders as a table."""
    rows = [list(HEADING)]
    for name, encoder in record.encoders.items():
        if encoder:
            keys = ("run", "mode", "layer", "pooling", "corpus", "classes")
            digests = " ".join(digest[:DIGITS_SHOWN] for digest in _digests(encoder))
            rows.append([name, *(value(encoder.get(key)) or NONE for key in keys), digests or NONE])
    return rows


def origins(record: RunRecord) -> list[Block]:
    """Show the table of `origin_rows`, every digest with its full form on hover."""
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
    phrases = [encoder.get("run"), encoder.get("mode")]
    if encoder.get("layer") is not None:
        phrases.append(f"layer {encoder['layer']}")
    corpus = encoder.get("corpus")
    if corpus and corpus != record.data.get("corpus", corpus):
        phrases.append(f"trained on another corpus: {corpus}")
    phrases.append(pluralise(len(_digests(encoder)), "checkpoint"))
    return ", ".join(map(strip_control_chars, phrases))


def _digests(encoder: Mapping[str, Any]) -> list[str]:
    return [str(digest) for digest in encoder.get("digests") or ()]
