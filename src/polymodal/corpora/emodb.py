"""EmoDB (Burkhardt et al., 2005): German acted speech, told apart by the names of its files."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polymodal.corpora._base import Rules, build_manifest
from polymodal.corpora.locating import CorpusFolder, find_folder
from polymodal.schemas.manifest import Manifest, RejectedRow

NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<letter>[A-Z])(?P<take>[a-z])")
LETTERS: Mapping[str, str] = {  # the first letter of the German word
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
MEN = frozenset({"03", "10", "11", "12", "15"})
SUFFIXES = frozenset({".wav", ".flac"})
EMODB = CorpusFolder(
    "EmoDB",
    names=("emodb",),
    contents=("*.wav", "*.flac", "wav/*.wav", "flac/*.flac"),
    any_layout=True,  # the files are found however deep they lie
)


def read_emodb(
    root: str,
    *,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    max_refused: int | None = 0,
) -> Manifest:
    """Reads the corpus from its audio files, wherever below the folder they lie.

    A name such as `03a01Fa.wav` says speaker 03, sentence a01, emotion F (happiness), take a.

    Args:
        root: The folder, or one with a folder `emodb` in it.
        classes: The declared classes; None to accept all seven emotions.
        label_map: An emotion to another class.
        where: Column to the value, or values, to keep; there are `sentence`, `gender` and `take`.
        max_refused: How many files may be refused; None for any number.

    Returns:
        The manifest; the text is missing, as the ten sentences carry no emotion.

    Raises:
        ManifestError: The folder is missing, or more files were refused than allowed.
    """
    folder = find_folder(root, EMODB)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    strange = [path for path in files if not _known(path)]
    refused = [
        RejectedRow(path.name, "unknown file name", "expected such as 03a01Fa.wav")
        for path in strange
    ]
    rules = Rules(classes, label_map or {}, where or {}, max_refused)
    return build_manifest(
        _rows(folder, [path for path in files if _known(path)]), folder, rules, refused
    )


def _known(path: Path) -> bool:
    found = NAME.fullmatch(path.stem)
    return found is not None and found["letter"] in LETTERS


def _rows(folder: Path, files: Sequence[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in files:
        found = NAME.fullmatch(path.stem)
        assert found is not None
        yield (
            path.name,
            {
                "utterance_id": path.stem,
                "corpus": "emodb",
                "speaker": found["speaker"],
                "audio": path.relative_to(folder).as_posix(),
                "label": LETTERS[found["letter"]],
                "sentence": found["sentence"],
                "gender": "male" if found["speaker"] in MEN else "female",
                "take": found["take"],
            },
        )
