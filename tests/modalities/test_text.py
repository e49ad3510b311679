"""Reading texts and averaging tokens."""

import numpy as np
import pytest

from neuralrank import registry
from neuralrank.errors import DataError, ModelError
from neuralrank.types import Hidden

TEXT = registry.get("modalities", "text")()


def test_strings_and_utf8_bytes_are_texts():
    assert TEXT.read_sample("Größe 12 \U0001f600") == "Größe 12 \U0001f600"
    assert TEXT.read_sample("\ufeffGröße".encode()) == "Größe"
    assert TEXT.read_sample("") == ""
    assert type(TEXT.read_sample(np.str_("a"))) is np.str_


def test_half_characters_are_replaced():
    assert TEXT.read_sample("a\ud83db") == "a\ufffdb"


@pytest.mark.parametrize("raw", [None, float("nan"), 3, np.zeros(2)])
def test_what_is_no_text_is_a_data_error(raw):
    with pytest.raises(
        DataError, match=r"^A sample needs to be a text\. Got .+\. Remove it, or choose another column\.$"
    ):
        TEXT.read_sample(raw)


def test_other_encodings_are_named():
    with pytest.raises(DataError) as caught:
        TEXT.read_sample(b"Gr\xf6\xdfe")
    assert str(caught.value) == "A text needs to be UTF-8. Got byte 0xf6 at position 2. Convert it."


def test_the_models_tokenizer_makes_the_batch():
    batch = TEXT.make_batch(["a", "bcd"], lambda texts: {"input_ids": np.array([[len(text)] for text in texts])})
    assert batch["input_ids"].tolist() == [[1], [3]]
    with pytest.raises(ModelError, match="needs its own tokenizer"):
        TEXT.make_batch(["a"], None)


def test_padding_does_not_change_the_mean():
    values = np.array([[[1.0, 2.0], [3.0, 4.0], [99.0, 99.0]]], np.float16)
    pooled = TEXT.pool(Hidden(values=values, mask=np.array([[True, True, False]])))
    assert pooled.dtype == np.float32
    assert pooled.tolist() == [[2.0, 3.0]]
