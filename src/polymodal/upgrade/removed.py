"""Options that a library has taken away: since when, and what takes their place."""

from dataclasses import dataclass

from polymodal.upgrade.rules import rules

LIBRARIES = {"pytorch_lightning": "Lightning"}


@dataclass(frozen=True)
class Removed:
    """An option that is gone.

    Args:
        since: In which release.
        instead: What to write now.
    """

    since: str
    instead: str


def removed_from(target: str, option: str) -> Removed | None:
    """Tells what became of an option that a library no longer takes.

    Args:
        target: Dotted path of the class.
        option: The option.

    Returns:
        Since when it is gone and what to write instead; None where nothing is known of it.

    Example:
        >>> removed_from("pytorch_lightning.Trainer", "gpus").since
        'removed in Lightning 2.0'
    """
    for rule in rules("argument"):
        if option in rule.old and option not in rule.new and rule.is_about(target):
            library = LIBRARIES.get(rule.library, rule.library)
            return Removed(f"removed in {library} {rule.removed or rule.deprecated}", rule.remedy)
    return None
