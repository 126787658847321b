"""Read the text of an utterance."""

from polymodal.schemas.manifest import Utterance


def read_text(utterance: Utterance) -> str | None:
    """Return the text of an utterance, or None if it is missing or empty.

    Example:
        >>> read_text(Utterance("u", "s", text="ja"))
        'ja'
    """
    return utterance.text
