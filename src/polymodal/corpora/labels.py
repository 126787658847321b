"""Labels of a corpus, mapped to declared classes whatever their letter case and blanks."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from polymodal.schemas.keys import case_variants, clean_key, fold_key


class LabelMap:
    """Map a label of a corpus to a declared class: by `corpus.label_map`, then by its spelling.

    A label that is spelled like no class, but like exactly one but for letter case and blanks, is
    taken for that class, and counted.

    Example:
        >>> labels = LabelMap({"joyful": "joy"}, ["joy", "anger"])
        >>> [labels(name) for name in ("joyful", "Joyful ", "ANGER", "fear")]
        ['joy', 'joy', 'anger', 'fear']
        >>> labels.handled
        Counter({"label 'Joyful' read as 'joy'": 1, "label 'ANGER' read as 'anger'": 1})
    """

    def __init__(
        self, label_map: Mapping[str, str] | None, classes: Collection[str] | None
    ) -> None:
        self.targets = {clean_key(name): target for name, target in (label_map or {}).items()}
        declared = [*self.targets.values()] if classes is None else classes
        self.declared = {clean_key(name): name for name in declared}
        self.folded_sources = _unique_folds(self.targets)
        self.folded_classes = _unique_folds(self.declared)
        self.handled: Counter[str] = Counter()

    def __call__(self, label: str) -> str:
        """Return the class of a label, or the cleaned label if it is none."""
        name = clean_key(label)
        source = name if name in self.targets else None
        if source is None and name not in self.declared:
            source = self.folded_sources.get(fold_key(name))
        mapped = name if source is None else clean_key(self.targets[source])
        exact = self.declared.get(mapped)
        target = self.folded_classes.get(fold_key(mapped)) if exact is None else mapped
        resolved = mapped if target is None else self.declared[target]
        if source not in (None, name) or target not in (None, mapped):
            self.handled[f"label {name!r} read as {resolved!r}"] += 1
        return resolved

    def is_mapped(self, label: str) -> bool:
        """Return whether `corpus.label_map` has the label, be it in another letter case."""
        name = clean_key(label)
        is_folded = name not in self.declared and fold_key(name) in self.folded_sources
        return name in self.targets or is_folded

    def votes(self, votes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Map the labels of votes, and add up those that become equal.

        Example:
            >>> LabelMap({"love": "joy"}, None).votes(
            ...     [{"label": "joy", "count": 2}, {"label": "love", "count": 1}])
            [{'label': 'joy', 'count': 3}]
        """
        counts: Counter[str] = Counter()
        for vote in votes:
            counts[self(vote["label"])] += vote["count"]
        return [{"label": label, "count": count} for label, count in counts.items()]


def _unique_folds(names: Collection[str]) -> dict[str, str]:
    """Return the folded form of each name that no other one has, and the name."""
    ambiguous = {fold_key(group[0]) for group in case_variants(names)}
    return {fold: name for name in names if (fold := fold_key(name)) not in ambiguous}


def merge_spellings(
    frame: pl.DataFrame, declared: Collection[str]
) -> tuple[pl.DataFrame, Counter[str]]:
    """Give labels that differ by letter case or blanks alone their most frequent spelling.

    Spellings in `declared` are left apart. Returns the frame, and each change with its count.
    """
    if "label" not in frame.columns:
        return frame, Counter[str]()
    counts = Counter(frame["label"].drop_nulls().to_list())
    if "votes" in frame.columns:
        voted = frame["votes"].explode().drop_nulls().struct.field("label").drop_nulls()
        counts.update(dict.fromkeys({*voted} - {*counts}, 0))
    spelling: dict[str, str] = {}
    for group in case_variants(counts):
        if len({*group} & {*declared}) < 2:
            chosen = min(group, key=lambda name: (name not in declared, -counts[name], name))
            spelling |= {name: chosen for name in group if name != chosen}
    if not spelling:
        return frame, Counter[str]()
    labels = LabelMap(spelling, [*counts])
    changed = [label and labels(label) for label in frame["label"]]
    frame = frame.with_columns(pl.Series("label", changed, dtype=pl.String))
    handled = Counter(
        {f"label {name!r} read as {to!r}": counts[name] for name, to in spelling.items()}
    )
    return with_mapped_votes(frame, labels), handled


def with_mapped_votes(frame: pl.DataFrame, labels: LabelMap) -> pl.DataFrame:
    """Map the labels in the column `votes`, if there is one."""
    if "votes" not in frame.columns:
        return frame
    votes = [row and labels.votes(row) for row in frame["votes"].to_list()]
    return frame.with_columns(pl.Series("votes", votes, dtype=frame.schema["votes"]))
