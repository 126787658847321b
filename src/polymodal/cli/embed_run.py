"""Write the embeddings of a finished run's encoders to a file: `polymodal embed RUN`."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from polymodal.cli._bootstrap import checked_stored, prepare
from polymodal.cli.embed import fill_shown
from polymodal.cli.test import warn_of_own_code

if TYPE_CHECKING:
    from polymodal.runs.embed import RunEmbeddings
    from polymodal.schemas.embeddings import Embeddings


def embed_run(run: str, overrides: Sequence[str], arguments: argparse.Namespace) -> int:
    """Write the embeddings of a run's encoders, with overrides such as another corpus.

    Raises:
        UserError: The run has no such encoder, or the corpus is invalid.
    """
    prepare()
    from polymodal.features.embedding_files import check_target, write_embeddings
    from polymodal.runs.embed import EmbeddingRequest, RunEmbeddings
    from polymodal.runs.evaluate import load_trained_run

    given = {name: getattr(arguments, name) for name in ("modality", "pooling", "fold")}
    layer = arguments.layer
    request = EmbeddingRequest(
        **{name: value for name, value in given.items() if value is not None},
        layer=int(layer) if layer is not None and layer.isdecimal() else layer,
    )
    source, composed = load_trained_run(run, [*overrides, "evaluate_on=all"])
    warn_of_own_code(source)
    out = arguments.out or f"{source.resolve().name}-embeddings.parquet"
    check_target(out)
    plan = RunEmbeddings.prepare(source, checked_stored(composed, source), request)
    tables = _compute(plan)
    write_embeddings(tables, out)
    print(_summary(tables, out))
    return 0


def _compute(plan: "RunEmbeddings") -> "list[Embeddings]":
    """Compute the embeddings of each modality, and join those of its folds."""
    import sys
    from functools import partial

    from polymodal.schemas.embeddings import join_embeddings

    for remark in plan.remarks:
        print(f"note: {remark}", file=sys.stderr)
    by_modality: dict[str, list[Embeddings]] = {}
    for job in plan.jobs:
        workers = plan.config["data"]["extract_workers"]
        seen, _ = fill_shown(job.title, partial(plan.survey, job), workers)
        by_modality.setdefault(job.modality, []).append(plan.embeddings(job, seen.features()))
    return [join_embeddings(tables) for tables in by_modality.values()]


def _summary(tables: "Sequence[Embeddings]", out: str) -> str:
    """Describe the written tables, and how to read them."""
    from polymodal.features.embedding_files import NPZ, is_dataset

    written = ", ".join(
        f"{table.modality} {table.rows['utterance_id'].n_unique():,} utterances x "
        f"{table.values.shape[1]}"
        + (f" ({table.rows['fold'].n_unique()} folds)" if table.rows["fold"].n_unique() > 1 else "")
        for table in tables
    )
    reading = f'polars.read_parquet("{out}")'
    if is_dataset(out):
        reading = f'datasets.load_from_disk("{out}")'
    elif out.endswith(NPZ):
        reading = f'numpy.load("{out}")["{tables[0].modality}/values"]'
    return f"{out}: {written}; read it with {reading}"
