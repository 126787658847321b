"""Convert a raw corpus to a manifest with a report of rejected rows, or check one.

polymodal corpus emodb DATA/emodb --out emodb.parquet
polymodal corpus kemdy20 DATA/KEMDy20_v1_1
polymodal corpus table DATA/my corpus.file=list.csv corpus.columns.audio=path
polymodal corpus check emodb.parquet

`check` opens every file of a manifest, prints a verdict, and writes check.json and check.html.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.cli._bootstrap import checked
from polymodal.errors import ConfigError, ManifestError, RejectedRowsError

if TYPE_CHECKING:
    import polars as pl

    from polymodal.config.compose import ComposedConfig
    from polymodal.schemas.manifest import Manifest

CHECK = "check"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal corpus`."""
    parser.add_argument("name", metavar="NAME", help="reader: an option of the group corpus; check")
    parser.add_argument(
        "root", metavar="ROOT", help="folder of the corpus as it was received; of check: a manifest"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options to change")
    reading = parser.add_argument_group("reading")
    reading.add_argument("--out", metavar="FILE", help="Parquet to write (default: NAME.parquet)")
    reading.add_argument("--strict", action="store_true", help="fail if any row is rejected")
    reading.add_argument(
        "--hash", action="store_true", help="record the SHA-256 of all audio, for check"
    )
    checking = parser.add_argument_group("check")
    checking.add_argument("--audio", metavar="FOLDER", help="folder of the corpus, if it has moved")
    checking.add_argument("--folds", metavar="RUN", help="a run or its folds.json: table by split")
    checking.add_argument("--workers", type=int, metavar="N", help="threads (default: all cores)")
    checking.add_argument("--to", metavar="FOLDER", help="for check.json and check.html")


def main(arguments: argparse.Namespace) -> int:
    """Read a corpus and write its manifest, or check one; return 2 if it is not usable."""
    return _check(arguments) if arguments.name == CHECK else _read(arguments)


def _read(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from polymodal.cli._format import print_corpus
    from polymodal.config.compose import compose
    from polymodal.config.instantiate import instantiate
    from polymodal.corpora.manifest import with_hashes, write_manifest
    from polymodal.corpora.transcripts import prepare_text

    out = Path(arguments.out or f"{arguments.name}.parquet")
    if out.suffix != ".parquet" or out.is_dir():
        raise ManifestError(f"--out {out}", expected="a file that ends with .parquet")
    chosen = [f"corpus={arguments.name}", *arguments.overrides]
    composed = compose(chosen, config_name="corpus")
    _complete(composed, arguments, out)
    config = checked(composed)
    with Console(stderr=True).status(f"reading {arguments.root}"):
        try:
            corpus = instantiate(config["corpus"], "corpus")
        except RejectedRowsError as error:
            report = _report_rejected(error, out)
            hint = f"{error.hint}; every rejected row is in {report}"
            raise ManifestError(error.message, expected=error.expected, hint=hint) from None
        manifest = prepare_text(corpus, instantiate(config["text"], "text"))
        manifest = with_hashes(manifest) if arguments.hash else manifest
        write_manifest(manifest, out)
    print_corpus(manifest, out)
    return 0


def _report_rejected(error: RejectedRowsError, out: Path) -> Path:
    """Write the report without a manifest; one of an earlier manifest keeps its own."""
    from polymodal.corpora.manifest import write_rejected

    report = out.with_suffix(".rejected.json" if out.exists() else ".json")
    write_rejected(error.refused, report)
    return report


def _complete(composed: "ComposedConfig", arguments: argparse.Namespace, out: Path) -> None:
    """Set the options of the corpus from the command line, and defaults for reading."""
    from omegaconf import OmegaConf

    from polymodal.corpora.manifest import prepared_dir

    section = composed.config.corpus
    given = {override.partition("=")[0] for override in arguments.overrides}
    defaults = {
        "root": arguments.root,
        "prepared": str(prepared_dir(out)),
        "max_refused": 0 if arguments.strict else None,
    }
    for key, value in defaults.items():
        if key in section and f"corpus.{key}" not in given:
            section[key] = value
    if OmegaConf.is_missing(section, "classes"):
        section.classes = None


def _check(arguments: argparse.Namespace) -> int:
    from polymodal.cli.corpus_check import check_corpus
    from polymodal.corpora.manifest import read_manifest

    if arguments.overrides:
        raise ConfigError(
            f"check takes no options, but was given {' '.join(arguments.overrides)}",
            hint="set the folder of the corpus with --audio FOLDER; `polymodal corpus --help`",
        )
    path = Path(arguments.root)
    manifest = read_manifest(str(path), root=arguments.audio)
    folder = Path(arguments.to) if arguments.to else path.with_suffix(".check")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file", hint="name a folder with --to FOLDER")
    split = _splits(manifest, arguments.folds)
    inspection = check_corpus(manifest, folder, num_workers=arguments.workers, split=split)
    return 2 if inspection.verdict == "not usable" else 0


def _splits(manifest: "Manifest", folds: str | None) -> "pl.Series | None":
    """Return the split of each row: from the first fold of a file, or the column `split`."""
    if folds is not None:
        from polymodal.config.compose import runs_folder
        from polymodal.data.leakage import add_transcript_groups
        from polymodal.data.splits import TABLES, from_file
        from polymodal.tracking.index import find_run

        path = Path(folds)
        if path.suffix not in (".json", *TABLES):
            path = find_run(runs_folder(), folds)
        grouped = add_transcript_groups(manifest)
        folds_ = from_file(grouped, file=str(path), unknown="leave_out", speaker_dependent=True)
        return folds_[0].split_of_rows(grouped.frame)
    return manifest.frame["split"] if "split" in manifest.frame.columns else None
