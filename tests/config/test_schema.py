import pytest

from polymodal.config.compose import compose
from polymodal.config.schema import SECTIONS, TOP_LEVEL, option_types
from polymodal.preflight.rules.signatures import matches_type


@pytest.mark.parametrize("section", SECTIONS)
def test_a_schema_types_exactly_the_options_of_our_files(section, workplace):
    values, types = compose([]).resolved()[section], option_types(section)
    assert set(values) == set(types)
    assert {name for name, value in values.items() if not matches_type(value, types[name])} == set()


def test_options_beside_the_groups_are_typed(workplace):
    config = compose([]).resolved()
    assert all(matches_type(config[key], hint) for key, hint in TOP_LEVEL.items())


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("data.batch_s=atuo", "did you mean 'auto'?"),
        ("data.sampling=balance", "did you mean 'balanced'?"),
        ("data.store_dtype=flaot16", "did you mean 'float16'?"),
        ("data.cache_mb=many", "float"),
        ("data.max_utterances=null", "int"),
        ("data.reuse_prefix=maybe", "auto"),
        ("alert.ends=[done]", "a list of"),
        ("evaluate_on=tets", "did you mean 'test'?"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_fits(polymodal, override, hint):
    code, _, error = polymodal("run", override)
    assert code == 2
    assert override.partition("=")[0] in error
    assert hint in error
