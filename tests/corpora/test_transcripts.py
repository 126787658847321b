"""Text preparation: each step by itself, in order, and the raw text kept."""

from pathlib import Path

import polars as pl
import pytest

from polymodal.config.compose import compose
from polymodal.config.instantiate import instantiate
from polymodal.corpora.transcripts import TextPreparation, decode, prepare_text
from polymodal.errors import ConfigError
from polymodal.schemas.manifest import Manifest


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [
        ({}, "  a\t b\n", "a b"),
        ({"unicode_form": "NFC"}, "\u1112\u1161\u11ab\u1100\u1173\u11af", "한글"),
        ({"unicode_form": "NFKC"}, "\uff21\uff22\uff01", "AB!"),
        ({"narrow": True}, "\uff21\u3000\uff22\uff01 ㅋ", "A B! ㅋ"),
        ({"markers": [r"(?<![A-Za-z])[a-z]/"]}, "b/ km/h o/ 응", "km/h 응"),
        ({"brackets": "content"}, "가 (나 [다]) <라>", "가 나 [다] 라"),
        ({"brackets": "drop"}, "가 (나) <웃음> 다", "가 다"),
        ({"quotes": True}, "\u201c가\u201d \u2018나\u2019", "\"가\" '나'"),
        ({"repeats": 2}, "ㅋㅋㅋㅋ 아아아 aa", "ㅋㅋ 아아 aa"),
        ({"punctuation": "drop"}, "가, 나! a_b", "가 나 a b"),
        ({"case": "lower"}, "ÀÉ Ω", "àé ω"),
    ],
)
def test_each_step(options, before, after):
    assert TextPreparation(**options)(before) == after


def test_a_marker_that_is_no_regular_expression_is_named():
    with pytest.raises(ConfigError, match=r"'\*' is not a regular expression"):
        TextPreparation(markers=["*"])


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("keep", "ㅋㅋㅋㅋ  \u201cA\u201d", "ㅋㅋㅋㅋ  \u201cA\u201d"),
        ("korean", "ㅋㅋㅋㅋ  \u201c\uff21\u201d", 'ㅋㅋ "A"'),
        ("english", "Soooooo  GOOD…", "sooo good…"),
        ("annotated", "n/ 그래* (아니) + 응", "그래 응"),
    ],
)
def test_the_shipped_languages(workplace, name, before, after):
    config = compose([f"text={name}"], config_name="corpus").resolved()
    frame = pl.DataFrame({"utterance_id": ["a", "b"], "speaker": "s", "text": [before, None]})
    manifest = prepare_text(Manifest(frame, Path()), instantiate(config["text"], "text"))
    assert manifest.frame["text"].to_list() == [after, None]
    assert manifest.frame["text_raw"].to_list() == (
        [None] * 2 if name == "keep" else [before, None]
    )


def test_the_first_raw_text_stays_and_nothing_left_is_missing():
    frame = pl.DataFrame(
        {"utterance_id": ["a"], "speaker": "s", "text": ["(웃음)"], "text_raw": ["l/ (웃음)"]}
    )
    manifest = prepare_text(Manifest(frame, Path()), TextPreparation(brackets="drop"))
    assert manifest.utterance(0).text is None
    assert manifest.frame["text_raw"][0] == "l/ (웃음)"


@pytest.mark.parametrize(
    ("raw", "text", "encoding"),
    [
        ("한글".encode(), "한글", "utf-8"),
        ("\ufeff한글".encode(), "한글", "utf-8"),
        ("한글".encode("cp949"), "한글", "cp949"),
    ],
)
def test_bytes_are_told_apart(raw, text, encoding):
    assert decode(raw) == (text, encoding)
