import pytest

from neuralrank import registry


@pytest.mark.parametrize(("reported_accuracy", "value"), [(76.1, 76.1), (0.0, 0.0), (None, None)])
def test_is_what_the_record_says(record, reported_accuracy, value):
    assert registry.get("scorers", "reported_accuracy").of_record(record(reported_accuracy=reported_accuracy)) == value
