"""The section of a study's report that asks why deep fusion wins or loses."""

from collections.abc import Mapping, Sequence
from typing import Any

from polymodal.report import format
from polymodal.report.blocks import Block, Link, paragraph
from polymodal.report.embeddings import EmbeddingEntry, embedding_entries, embeddings_section
from polymodal.report.format import as_finite, format_score
from polymodal.report.study_tables import kind_of

Members = Mapping[str, Mapping[str, Any]]


def fusion_section(members: Members, classes: Sequence[str], gaps_anchor: str) -> list[Block]:
    """Show the embeddings and the generalisation gaps of fusion members."""
    entries = [entry for name, member in members.items() for entry in _entries(name, member)]
    if not entries:
        return []
    fusions = [*dict.fromkeys(entry.member for entry in entries)]
    sentence = _gap_sentence(members, fusions)
    gaps = paragraph(f"{sentence} ", Link("All gaps", f"#{gaps_anchor}"), ".")
    return embeddings_section(entries, classes, [gaps] if sentence else [])


def _entries(name: str, member: Mapping[str, Any]) -> list[EmbeddingEntry]:
    return embedding_entries(
        member.get("embeddings"),
        member=name,
        encoders=member.get("encoders"),
        fusion_rows=member.get("fusion_rows"),
    )


def _gap_sentence(members: Members, fusions: Sequence[str]) -> str:
    """Compare the mean generalisation gaps of fusion members and votes on the same score."""
    gaps = {name: gap for name, member in members.items() if (gap := _gap(member)) is not None}
    of_fusions = [gaps[name] for name in fusions if name in gaps]
    if not of_fusions:
        return ""
    meaning = of_fusions[0][0]
    votes = [gaps[name] for name in gaps if kind_of(members[name]) == "vote"]
    phrases = [
        f"{format_score(sum(values) / len(values), signed=True)} for "
        f"{format.pluralise(len(values), kind)}"
        for kind, pairs in (("fusion member", of_fusions), ("vote", votes))
        if (values := [value for name, value in pairs if name == meaning])
    ]
    return f"Mean generalisation gap ({meaning}): {' and '.join(phrases)}."


def _gap(member: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return what was subtracted, and the difference."""
    gap = member.get("gap")
    if not isinstance(gap, Mapping):
        return None
    train, tested = as_finite(gap.get("train")), as_finite(gap.get("other"))
    if train is None or tested is None:
        return None
    score, against = str(gap.get("score") or "score"), str(gap.get("against") or "val")
    return f"{score}, train minus {against}", train - tested
