"""The run-time checks of shapes and types are on in the tests, and can be set aside for one."""

import os

import jaxtyping
import pytest
import torch

from polymodal.layers.masks import attention_mask

checked = pytest.mark.skipif(
    os.environ.get("POLYMODAL_SHAPE_CHECKS") == "0", reason="POLYMODAL_SHAPE_CHECKS=0"
)


@checked
def test_a_wrong_shape_is_refused_at_the_call():
    with pytest.raises(jaxtyping.TypeCheckError, match="key_mask"):
        attention_mask(torch.ones(2, 3, 4, dtype=torch.bool))


@checked
@pytest.mark.usefixtures("shape_checks_off")
def test_one_test_can_set_the_checks_aside():
    assert attention_mask(torch.ones(2, 3, 4, dtype=torch.bool)).all()


@checked
def test_the_checks_are_back_afterwards():
    with pytest.raises(jaxtyping.TypeCheckError, match="key_mask"):
        attention_mask(torch.ones(6, dtype=torch.bool))
