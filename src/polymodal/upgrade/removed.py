"""Options that a library has removed, and their replacements."""

from dataclasses import dataclass

from polymodal.upgrade.rules import rules

LIBRARIES = {"pytorch_lightning": "Lightning"}


@dataclass(frozen=True)
class Removed:
    """The release that removed an option, and what to write instead."""

    since: str
    replacement: str


def removed_from(target: str, option: str) -> Removed | None:
    """Return since when a class no longer takes an option; None if unknown.

    Example:
        >>> removed_from("pytorch_lightning.Trainer", "gpus").since
        'removed in Lightning 2.0'
    """
    for rule in rules("argument"):
        if option in rule.old and option not in rule.new and rule.is_about(target):
            library = LIBRARIES.get(rule.library, rule.library)
            return Removed(f"removed in {library} {rule.removed or rule.deprecated}", rule.hint)
    return None
