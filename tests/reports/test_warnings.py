from collections.abc import Callable
from typing import Any

from neuralrank.reports._warnings import flags, group_warnings

Make = Callable[..., Any]


def test_sentences_that_differ_in_numbers_are_one_warning(make_model: Make) -> None:
    models = [
        make_model(i, warnings=(f"Only 2,000 samples for {d} features.",)) for i, d in enumerate(("512", "1,280", "64"))
    ]
    groups = group_warnings(models)
    assert [(group.flag, group.sentence, group.members) for group in groups] == [
        ("a", "Only 2,000 samples for 64 to 1,280 features.", (0, 1, 2))
    ]


def test_numbers_inside_names_keep_sentences_apart(make_model: Make) -> None:
    models = [
        make_model(0, warnings=("Layer 'block4' assumed.",)),
        make_model(1, warnings=("Layer 'block5' assumed.",)),
    ]
    assert [group.sentence for group in group_warnings(models)] == [
        "Layer 'block4' assumed.",
        "Layer 'block5' assumed.",
    ]


def test_a_repeated_sentence_of_one_model_counts_once(make_model: Make) -> None:
    groups = group_warnings([make_model(0, warnings=("Same.", "Same.", "Other 1.", "Other 2."))])
    assert [(group.sentence, group.members) for group in groups] == [("Same.", (0,)), ("Other 1 to 2.", (0,))]


def test_more_than_26_warnings_get_two_letters(make_model: Make) -> None:
    models = [make_model(0, warnings=tuple(f"Warning {'x' * i}." for i in range(28)))]
    groups = group_warnings(models)
    assert [group.flag for group in groups][24:] == ["y", "z", "aa", "ab"]
    assert flags(groups, 1)[0].endswith("y,z,aa,ab")
