"""Turns a raw corpus into a checked manifest, and says of every refused row why.

polymodal corpus emodb DATA/emodb --out emodb.parquet
polymodal corpus table DATA/my corpus.file=list.csv corpus.columns.audio=path
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `polymodal corpus`.

    Args:
        parser: The command's parser.
    """
    parser.add_argument("name", metavar="NAME", help="reader: an option of the group corpus")
    parser.add_argument("root", metavar="ROOT", help="folder of the corpus as it was received")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options to change")
    parser.add_argument("--out", metavar="FILE", help="Parquet to write (default: NAME.parquet)")
    parser.add_argument("--strict", action="store_true", help="refuse the corpus if any row is")


def main(arguments: argparse.Namespace) -> int:
    """Reads the corpus and writes its manifest.

    Args:
        arguments: As parsed.

    Returns:
        The exit code.
    """
    from polymodal.assemble.build import build
    from polymodal.assemble.compose import compose
    from polymodal.cli.start import checked
    from polymodal.cli.summary import print_corpus

    limit = "0" if arguments.strict else "null"
    chosen = [f"corpus={arguments.name}", f"corpus.root={arguments.root}"]
    chosen += [f"corpus.max_refused={limit}", *arguments.overrides]
    composed = compose(chosen)
    config = checked(composed)
    manifest = build(config["corpus"], "corpus")
    out = Path(arguments.out or f"{arguments.name}.parquet")
    manifest.write(out)
    print_corpus(manifest, out)
    return 0
