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

    first, second = WAVEFORM, WAVEFORM + 1
    keys = [
        key(eda=(first, 4.0)),
        key(temp=(first, 4.0)),
        key(eda=(first, 8.0)),
        key(eda=(first, None)),
        key(eda=(second, 4.0)),
        key(eda=(first, 4.0), temp=(second, 4.0)),
        key(eda=(second, 4.0), temp=(first, 4.0)),
        key(eda=(np.concatenate([first, second[:2]]), 4.0), temp=(second[2:], 4.0)),
        content_key(first),
    ]
    assert len(set(keys)) == len(keys)
    assert key(eda=(first, 4.0), temp=(second, None)) == key(
        temp=(second.copy(), None), eda=(first, 4)
    )
