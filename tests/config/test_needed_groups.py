import re

import pytest

from polymodal.config.compose import compose
from polymodal.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("callbacks=null", "callbacks=null chooses no option of the group"),
        ("corpus=5", "corpus=5 chooses no option of the group"),
        ("~corpus", "~corpus removes what `polymodal run` needs"),
        ("~seed", "~seed removes what `polymodal run` needs"),
    ],
)
def test_a_group_or_key_that_is_needed_cannot_be_left_out(workplace, override, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        compose([override])


def test_callbacks_may_be_left_out(workplace):
    assert compose(["~callbacks"]).resolved()["callbacks"] == {}
