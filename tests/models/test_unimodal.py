"""The unimodal classifier: one modality, pooled, as a perceptron over vectors too."""

import pytest
import torch

from polymodal.errors import ConfigError
from polymodal.models.unimodal import UnimodalClassifier
from polymodal.schemas.batch import PaddedSequence


def test_more_or_fewer_than_one_modality_is_refused():
    with pytest.raises(ConfigError, match=r"\['speech', 'text'\][\s\S]*fusion/cross_attention"):
        UnimodalClassifier({"text": 8, "speech": 8}, 4)
    with pytest.raises(ConfigError, match="at least one modality"):
        UnimodalClassifier({}, 4)
    with pytest.raises(ConfigError, match="0 outputs"):
        UnimodalClassifier({"text": 8}, 0)


@pytest.mark.parametrize("name", ["a.b", "values", ""])
def test_a_name_that_cannot_hold_parameters_is_refused(name):
    with pytest.raises(ConfigError, match="cannot be called"):
        UnimodalClassifier({name: 8}, 4)


def test_the_head_over_vectors_is_the_perceptron_itself():
    torch.manual_seed(0)
    model = UnimodalClassifier({"speech": 8}, 3, pooling="mean", hidden_sizes=[16, 5], dropout=0.5)
    model.eval()
    vectors = torch.randn(4, 1, 8)
    logits = model({"speech": PaddedSequence(vectors, torch.ones(4, 1, dtype=torch.bool))})
    torch.testing.assert_close(logits, model.head(vectors[:, 0]))
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linear] == [16, 5, 3]


def test_input_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model = UnimodalClassifier({"speech": 64}, 3, input_dropout=0.5)
    batch = {"speech": PaddedSequence(torch.randn(2, 4, 64), torch.ones(2, 4, dtype=torch.bool))}
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    assert torch.equal(model(batch), model(batch))
