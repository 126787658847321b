"""Ids for the rows of a table that have none."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence

from polymodal.corpora.cells import Row
from polymodal.schemas.keys import clean_key

STEM, PATH, NUMBER = "the stem of its audio file", "the path of its audio file", "its row number"


def made_ids(columns: Sequence[str], rows: Iterable[Row], handled: Counter[str]) -> dict[int, str]:
    """Return an id for each row without one: by row number, from 1.

    An id is the stem of the audio file, the path without suffix if the stem is not unique, else the
    row number. Equal rows get equal ids. In a table with a column for the id, a row without both id
    and audio gets none. `handled` counts where ids come from.
    """
    has_column = "utterance_id" in columns
    taken: set[str] = set()
    audio_of: dict[int, str] = {}
    first_of: dict[str, int] = {}
    same_as: dict[int, int] = {}
    for number, row in enumerate(rows, start=1):
        if row.get("utterance_id"):
            taken.add(clean_key(str(row["utterance_id"])))
        elif row.get("audio") or not has_column:
            audio_of[number] = os.path.splitext(row.get("audio") or "")[0]
            same_as[number] = first_of.setdefault(repr(sorted(row.items())), number)
    distinct = [number for number in audio_of if same_as[number] == number]
    stems = Counter(clean_key(os.path.basename(audio_of[number])) for number in distinct)
    paths = Counter(clean_key(audio_of[number]) for number in distinct)
    ids: dict[int, str] = {}
    for number in distinct:
        path = clean_key(audio_of[number])
        ids[number], source = _made_id(path, number, stems, paths, taken)
        handled[f"id made from {source}"] += 1
    return {number: ids[first] for number, first in same_as.items()}


def _made_id(
    path: str, number: int, stems: Counter[str], paths: Counter[str], taken: set[str]
) -> tuple[str, str]:
    stem = clean_key(os.path.basename(path))
    if stem and stems[stem] == 1 and stem not in taken:
        return stem, STEM
    if path and paths[path] == 1 and path not in taken:
        return path, PATH
    return f"{stem or 'row'}-{number:06d}", NUMBER
