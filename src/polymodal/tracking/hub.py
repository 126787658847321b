"""Upload a folder to the Hugging Face Hub, if the user asks for it and has a token."""

import re
from pathlib import Path
from typing import Any

from polymodal.errors import ConfigError, MissingExtraError

NAME = re.compile(r"[\w.-]+/[\w.-]+")


def connect(name: str) -> Any:
    """Return the client of the Hub for a repository `OWNER/NAME`, before anything is written.

    Raises:
        ConfigError: It is not such a name, or there is no token.
        MissingExtraError: The Hub's package is not installed.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not a name on the Hub", expected="OWNER/NAME")
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError:
        raise MissingExtraError("huggingface_hub", "pretrained") from None
    if not (token := get_token()):
        raise ConfigError(
            "there is no token of the Hugging Face Hub here",
            hint="`hf auth login`, or set HF_TOKEN; without --upload the folder is written alone",
        )
    return HfApi(token=token)


def upload(hub: Any, folder: Path, name: str, *, public: bool = False) -> str:
    """Upload a folder to `OWNER/NAME`, which is created if missing, private unless `public`.

    Raises:
        ConfigError: The Hub refuses, or cannot be reached; the folder is still here.
    """
    try:
        address = hub.create_repo(name, private=not public, exist_ok=True)
        if hub.repo_info(name).private is public:  # it was there already
            raise PermissionError(f"it is {'private' if public else 'public'}, as it was before")
        hub.upload_folder(repo_id=name, folder_path=str(folder), commit_message="polymodal push")
    except Exception as error:  # the Hub's package raises many types
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{folder} could not be uploaded to {name}: {message}",
            hint="the folder is whole: upload it later with `hf upload`",
        ) from None
    return str(address)
