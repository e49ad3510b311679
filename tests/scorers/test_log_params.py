import pytest

from neuralrank import registry


@pytest.mark.parametrize(("n_params", "value"), [(1_000_000, 6.0), (1, 0.0), (0, None), (None, None)])
def test_is_what_the_record_says(record, n_params, value):
    assert registry.get("scorers", "log_params").of_record(record(n_params=n_params)) == value
