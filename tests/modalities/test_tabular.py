"""Reading and stacking vectors."""

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.errors import DataError, ModelError
from neuralrank.types import Hidden, ImagePreprocessing

TABULAR = registry.get("modalities", "tabular")()


def test_vectors_are_stacked_as_they_are():
    samples = [TABULAR.read_sample(np.array([1, 2])), TABULAR.read_sample(np.array([3.5, -4]))]
    batch = TABULAR.make_batch(samples, None)["x"]
    assert batch.dtype == np.float32
    assert batch.tolist() == [[1.0, 2.0], [3.5, -4.0]]
    np.testing.assert_array_equal(TABULAR.pool(Hidden(values=batch)), batch)


@pytest.mark.parametrize("raw", ["1,2", None, np.zeros((2, 2)), np.array(["a"])])
def test_what_is_no_vector_is_a_data_error(raw):
    with pytest.raises(DataError, match=r"^A sample needs to be a vector of numbers\. Got "):
        TABULAR.read_sample(raw)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_named(bad):
    with pytest.raises(DataError) as caught:
        TABULAR.read_sample(np.array([0.0, bad]))
    assert str(caught.value) == f"A sample needs finite numbers. Got {bad} at position 1. Fill or remove the value."


def test_vectors_of_different_length_are_refused():
    with pytest.raises(DataError) as caught:
        TABULAR.make_batch([np.zeros(2), np.zeros(3)], None)
    assert str(caught.value) == "Samples need one length. Got vectors of 2 and 3 numbers. Pad or cut them."


def test_a_model_that_takes_images_is_refused():
    with pytest.raises(ModelError, match=r"^A model needs to take vectors for this data\."):
        TABULAR.make_batch([np.zeros(2)], ImagePreprocessing(size=(8, 8)))
