"""EmoDB (Burkhardt et al., 2005): German acted speech, labelled by file names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polymodal.corpora._base import ReaderOptions, build_manifest
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
    any_layout=True,  # files are found at any depth
)


def read_emodb(
    root: str,
    *,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    where: Mapping[str, Any] | None = None,
    max_refused: int | None = 0,
) -> Manifest:
    """Read EmoDB from its audio files, at any depth below the folder.

    A name such as `03a01Fa.wav` means speaker 03, sentence a01, emotion F (happiness), take a.
    There is no text: the ten sentences carry no emotion.

    `root` is the folder, or one with a folder `emodb` in it. `where` also knows `sentence`,
    `gender` and `take`. The options are those of `ReaderOptions`.

    Raises:
        ManifestError: The folder is missing, or more files were rejected than allowed.
    """
    folder = find_folder(root, EMODB)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    rows, rejected = [], []
    for path in files:
        match = NAME.fullmatch(path.stem)
        if match is None or match["letter"] not in LETTERS:
            reason = "expected such as 03a01Fa.wav"
            rejected.append(RejectedRow(path.name, "unknown file name", reason))
        else:
            rows.append((path.name, _row(match, path.relative_to(folder))))
    options = ReaderOptions(classes, label_map, where, max_refused)
    return build_manifest(rows, folder, options, rejected)


def _row(match: re.Match[str], audio: Path) -> dict[str, Any]:
    return {
        "utterance_id": audio.stem,
        "corpus": "emodb",
        "speaker": match["speaker"],
        "audio": audio.as_posix(),
        "label": LETTERS[match["letter"]],
        "sentence": match["sentence"],
        "gender": "male" if match["speaker"] in MEN else "female",
        "take": match["take"],
    }
