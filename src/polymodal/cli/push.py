"""Writes a run as a folder of the Hugging Face layout: weights, labels, model card, data card.

polymodal push last published/my-model --licence cc-by-nc-4.0 --language ko
polymodal push last published/my-model --upload NAME/my-model     asks for nothing, needs a token

`polymodal predict published/my-model` loads it again. Nothing leaves this machine without --upload.
"""

import argparse
from pathlib import Path

from polymodal.cli.runs import add_runs, plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal push`."""
    parser.add_argument("run", metavar="RUN", help="run id, its beginning, a path, or `last`")
    parser.add_argument("folder", metavar="FOLDER", help="the folder to write")
    add_runs(parser)
    parser.add_argument("--licence", default="", help="as the Hub names it, such as cc-by-nc-4.0")
    parser.add_argument("--language", default="", help="of the data, such as ko")
    parser.add_argument("--upload", metavar="NAME", help="also upload to OWNER/NAME on the Hub")
    parser.add_argument("--public", action="store_true", help="for everybody to see")


def main(arguments: argparse.Namespace) -> int:
    """Write the folder.

    Raises:
        UserError: The run cannot be pushed, or there is no token to upload with.
    """
    from polymodal.tracking.hub import connect, upload
    from polymodal.tracking.index import find_run

    run = find_run(Path(arguments.runs), arguments.run)
    hub = connect(arguments.upload) if arguments.upload else None  # fails early

    from polymodal.cli._bootstrap import prepare

    prepare(Path.cwd())
    from polymodal.export.huggingface import push

    folder = Path(arguments.folder)
    done = push(run, folder, licence=arguments.licence, language=arguments.language)
    print(f"{done.folder}: polymodal predict {done.folder} loads it")
    for key in done.path_keys:
        print(plain(f"{key} was a local path: set it on loading"))
    if not arguments.licence:
        print("no licence was chosen: --licence names one")
    if hub is not None:
        print(upload(hub, done.folder, arguments.upload, public=arguments.public))
    return 0
