"""Where encoders come from: no digest is lost, no name is taken as HTML."""

import re

from polymodal.report.encoder_origins import origin_rows, origin_sentences, origins
from polymodal.schemas.run_record import RunRecord

EVIL = '<script>alert("x")</script>'
DIGESTS = ["a" * 64, "b" * 64]
SPEECH = {
    "run": EVIL,
    "mode": "frozen",
    "layer": 6,
    "pooling": "none",
    "corpus": "other",
    "classes": ["anger", "joy"],
    "digests": DIGESTS,
}


def record(encoders, **data):
    return RunRecord("r", "r", encoders=encoders, data=data)


def test_the_table_has_short_digests_and_the_full_ones_on_hover():
    page = "".join(block.__html__() for block in origins(record({"speech": SPEECH})))
    assert re.findall(r'title="(\w+)">(\w+)<', page) == [(one, one[:12]) for one in DIGESTS]
    assert "<script" not in page
    assert "other" in page
    assert origins(record({})) == []


def test_the_corpus_is_named_where_it_is_another():
    assert "other" in origin_sentences(record({"speech": SPEECH}, corpus="mine"))["speech"]
    assert "other" not in origin_sentences(record({"speech": SPEECH}, corpus="other"))["speech"]
    assert origin_sentences(record({"speech": SPEECH}))["speech"].endswith("2 checkpoints")


def test_rows_of_a_sparse_record_have_every_cell():
    heading, row = origin_rows(record({"text": {"run": "x"}}))
    assert len(row) == len(heading)
    assert row[:2] == ["text", "x"]
