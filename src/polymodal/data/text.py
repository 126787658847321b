"""Reads the words of an utterance."""

from polymodal.schemas.manifest import Utterance


def read_text(utterance: Utterance) -> str | None:
    """Returns the words of an utterance.

    Args:
        utterance: The row of the manifest.

    Returns:
        The text, or None if it is missing or empty.

    Example:
        >>> read_text(Utterance("u", "s", text="ja"))
        'ja'
    """
    return utterance.text
