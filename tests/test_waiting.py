"""A long silence is explained, a short one is not."""

import time

from polymodal.waiting import say_if_slow


def test_only_a_long_step_is_announced(capfd):
    with say_if_slow("reading one row", after_s=30):
        pass
    with say_if_slow("reading the corpus", after_s=0.01):
        time.sleep(0.3)
    assert capfd.readouterr().err == "reading the corpus …\n"


def test_only_the_first_process_announces(capfd, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with say_if_slow("reading the corpus", after_s=0.01):
        time.sleep(0.3)
    assert not capfd.readouterr().err
