"""Convert a pickled checkpoint of a pretrained encoder to safetensors.

  polymodal encoder convert NAME FOLDER        NAME: on the Hugging Face Hub, or a folder
  polymodal run encoder=[hubert] encoder.speech.name=FOLDER

The pickle is read once, in a separate process that runs no code from it; FOLDER gets
model.safetensors, the configuration, the tokenizer, and converted.json with all hashes.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal encoder`."""
    parser.add_argument("action", choices=("convert",), help="what to do")
    parser.add_argument("name", metavar="NAME", help="name on the Hub, or a folder")
    parser.add_argument("out", metavar="FOLDER", type=Path, help="the folder to write")
    parser.add_argument("--revision", metavar="R", help="commit, tag or branch on the Hub")
    parser.add_argument("--force", action="store_true", help="replace an earlier conversion")


def main(arguments: argparse.Namespace) -> int:
    """Convert a model."""
    from rich.console import Console

    from polymodal.encoders.huggingface.convert import convert

    with Console(stderr=True).status(f"converting {arguments.name}"):
        result = convert(
            arguments.name, arguments.out, revision=arguments.revision, force=arguments.force
        )
    print(
        f"{result.folder}: {result.num_parameters:,} parameters, "
        f"{', '.join(result.dtypes)}, {result.size_bytes / 1e6:.1f} MB of safetensors"
    )
    print(f"use it with encoder.speech.name={result.folder} or encoder.text.name={result.folder}")
    return 0
