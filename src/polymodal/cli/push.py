"""Export a run to a folder in Hugging Face layout: weights, labels, model card, data card.

polymodal push last published/my-model --licence cc-by-nc-4.0 --language ko
polymodal push last published/my-model --upload NAME/my-model     without a prompt; needs a token

`polymodal predict published/my-model` loads it. Nothing leaves this machine without --upload.
"""

import argparse
from pathlib import Path

from polymodal.cli._arguments import add_runs
from polymodal.cli._bootstrap import prepare
from polymodal.cli._format import plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `polymodal push`."""
    parser.add_argument("run", metavar="RUN", help="run id or prefix of one, a path, or `last`")
    parser.add_argument("folder", metavar="FOLDER", help="the folder to write")
    add_runs(parser)
    parser.add_argument("--licence", default="", help="identifier of the Hub, such as cc-by-nc-4.0")
    parser.add_argument("--language", default="", help="of the data, such as ko")
    parser.add_argument("--upload", metavar="NAME", help="also upload to OWNER/NAME on the Hub")
    parser.add_argument("--public", action="store_true", help="make it public")


def main(arguments: argparse.Namespace) -> int:
    """Write the folder.

    Raises:
        UserError: The run cannot be pushed, or there is no token to upload with.
    """
    from polymodal.tracking.hub import connect, upload
    from polymodal.tracking.index import find_run

    run = find_run(Path(arguments.runs), arguments.run)
    hub = connect(arguments.upload) if arguments.upload else None  # fails early

    prepare()
    from polymodal.export.huggingface import push

    folder = Path(arguments.folder)
    result = push(run, folder, licence=arguments.licence, language=arguments.language)
    print(f"{result.folder}: polymodal predict {result.folder} loads it")
    for key in result.path_keys:
        print(plain(f"{key} was a local path: set it on loading"))
    if not arguments.licence:
        print("no licence was chosen: set one with --licence")
    if hub is not None:
        print(upload(hub, result.folder, arguments.upload, public=arguments.public))
    return 0
