import numpy as np

from polymodal.features.keys import content_key

WAVEFORM = np.arange(5, dtype=np.float32)


def test_other_content_is_another_key():
    raws = [WAVEFORM, WAVEFORM + 1, WAVEFORM[:4], WAVEFORM.astype(np.float64), "text", "text "]
    assert len({content_key(raw) for raw in raws}) == len(raws)
    assert content_key(WAVEFORM) == content_key(np.arange(10, dtype="f4")[::2] / 2)
    assert len(content_key(np.zeros(0, dtype=np.float32))) == 32


def test_signals_are_told_apart_by_name_rate_and_values_and_not_by_order():
    def key(**signals):
        return content_key(signals)

    one, two = WAVEFORM, WAVEFORM + 1
    keys = [
        key(eda=(one, 4.0)),
        key(temp=(one, 4.0)),
        key(eda=(one, 8.0)),
        key(eda=(one, None)),
        key(eda=(two, 4.0)),
        key(eda=(one, 4.0), temp=(two, 4.0)),
        key(eda=(two, 4.0), temp=(one, 4.0)),
        key(eda=(np.concatenate([one, two[:2]]), 4.0), temp=(two[2:], 4.0)),
        content_key(one),
    ]
    assert len(set(keys)) == len(keys)
    assert key(eda=(one, 4.0), temp=(two, None)) == key(temp=(two.copy(), None), eda=(one, 4))
