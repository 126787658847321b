"""Utterances with the same samples under two ids, above all across speakers, labels and splits."""

from collections.abc import Iterator, Sequence

import polars as pl

from polymodal.corpora.validation.issues import DataIssue

# From the worst: what two utterances with equal audio must not differ in.
RULES = {
    "split": "equal audio in two splits",
    "speaker": "equal audio of two speakers",
    "label": "equal audio with two labels",
}
SAME = "equal audio"


def duplicate_issues(
    frame: pl.DataFrame, digests: Sequence[str | None], split: pl.Series | None = None
) -> Iterator[DataIssue]:
    """Yield every utterance whose samples another one has, too.

    `digests` has a hash of the samples of each row of `frame`, None if it was not measured; `split`
    the name of each row's split.
    """
    splits = pl.lit(None, pl.String) if split is None else split.cast(pl.String)
    rows = frame.select(
        pl.Series("digest", digests, dtype=pl.String), "utterance_id", "speaker", "label",
        splits.alias("split"),
    ).drop_nulls("digest")  # fmt: skip
    repeated = rows.filter(pl.col("digest").is_duplicated()).sort("utterance_id")
    for _, group in repeated.group_by("digest", maintain_order=True):
        members = group.to_dicts()
        for member in members:
            yield _issue(member, [other for other in members if other is not member])


def _issue(row: dict[str, str | None], others: Sequence[dict[str, str | None]]) -> DataIssue:
    for column, rule in RULES.items():
        for other in others:
            if None not in (row[column], other[column]) and row[column] != other[column]:
                detail = f"the same samples as {other['utterance_id']}"
                pair = f"{column} {row[column]!r} here, {other[column]!r} there"
                return DataIssue(str(row["utterance_id"]), rule, f"{detail}: {pair}")
    names = ", ".join(str(other["utterance_id"]) for other in others[:3])
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return DataIssue(str(row["utterance_id"]), SAME, f"the same samples as {names}{more}")
