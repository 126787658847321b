"""`polymodal report`: a page of a run, of a vote, of a study."""

from pathlib import Path

import pytest

SMALL = [
    "experiment=sample/text",
    "corpus.num_speakers=6",
    "corpus.num_utterances=8",
    "split.val=0.3",
    "trainer.max_epochs=2",
    "tracker=none",
]


@pytest.fixture
def last(polymodal):
    code, _, error = polymodal("run", *SMALL)
    assert code == 0, error
    return Path("runs") / Path("runs/last").read_text()


def test_a_run_has_a_page_with_words_and_sound(polymodal, last):
    code, out, error = polymodal("report", "last", "--audio")
    assert code == 0, error
    assert f"{last}/report.html" in out
    text = (last / "report.html").read_text()
    assert "data:audio/wav;base64,UklGR" in text
    assert "test/uar" in text
    assert "val/uar" not in text.partition("</nav>")[0]


def test_a_run_whose_corpus_is_gone_has_one_without_them(polymodal, last):
    config = last / "config.yaml"
    config.write_text(config.read_text().replace("num_utterances: 8", "num_utterances: -1"))
    code, _, error = polymodal("report", str(last), "--audio")
    assert code == 0, error
    assert "warning: no transcripts" in error
    assert "data:audio" not in (last / "report.html").read_text()


def test_what_describes_the_embeddings_of_a_run_is_shown(polymodal, last):
    path = last / "embeddings.json"
    path.write_text('{"text": {"probe": {"train": 0.91, "val": NaN, "test": 0.52}}}')
    code, _, error = polymodal("report", "last")
    assert (code, error) == (0, "")
    assert "+.390" in (last / "report.html").read_text()
    path.write_text('{"text": ')
    code, _, error = polymodal("report", "last")
    assert code == 0
    assert "embeddings.json cannot be read" in error
    assert 'id="embeddings"' not in (last / "report.html").read_text()


def test_a_vote_has_one(polymodal, last):
    assert polymodal("run", *SMALL, "seed=1")[0] == 0
    code, _, error = polymodal("vote", last.name, "last", "tracker=none")
    assert code == 0, error
    code, out, error = polymodal("report", "last:vote")
    assert code == 0, error
    assert "Confusion" in Path(out.splitlines()[0]).read_text()


def test_the_browser_is_shown_the_page(polymodal, last, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert polymodal("report", "last", "--open")[0] == 0
    assert opened == [(last / "report.html").resolve().as_uri()]


@pytest.mark.parametrize(("name", "words"), [("nothing", "there is no run"), ("last", "last")])
def test_what_is_no_run_is_refused(polymodal, name, words):
    code, _, error = polymodal("report", name)
    assert code == 2
    assert words in error
