import pytest

from neuralrank import registry


@pytest.mark.parametrize(("size_bytes", "value"), [(123, 123.0), (0, None)])
def test_is_what_the_record_says(record, size_bytes, value):
    assert registry.get("scorers", "size").of_record(record(size_bytes=size_bytes)) == value
