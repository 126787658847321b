"""How names are compared: speakers, dialogues, sessions, ids and labels, in tables and in folds."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

# Columns whose cells are contents, paths or digests, not names: they stay as they are.
CONTENTS = frozenset({"audio", "audio_sha256", "text", "text_raw", "label_raw", "signals", "votes"})
# Characters without a shape that Unicode does not class as format characters (Cf).
BLANK_LETTERS = frozenset("\u034f\u115f\u3164\uffa0\ufe0e\ufe0f")


def clean_key(name: str) -> str:
    r"""Return a name without surrounding blanks and invisible characters, in Unicode form NFC.

    Any kind of blank, such as a non-breaking space, becomes a plain one.

    Example:
        >>> clean_key("\ufeffAnna\u00a0B\u200b "), clean_key("Zoe\u0308") == "Zo\u00eb"
        ('Anna B', True)
    """
    if not (name.isprintable() and BLANK_LETTERS.isdisjoint(name)):
        name = "".join(_visible(character) for character in name)
    return unicodedata.normalize("NFC", name.strip())


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    is_hidden = unicodedata.category(character) in ("Cf", "Cc") or character in BLANK_LETTERS
    return "" if is_hidden else character


def fold_key(name: str) -> str:
    """Return what two names have in common that differ by letter case and runs of blanks alone.

    Example:
        >>> fold_key("Anna  B") == fold_key("anna b")
        True
    """
    return " ".join(clean_key(name).split()).casefold()


def case_variants(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of names that differ by letter case and runs of blanks alone, sorted.

    Example:
        >>> case_variants(["Anna", "Ben", "anna"])
        [['Anna', 'anna']]
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups[fold_key(name)].add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)
