import pytest

from neuralrank.reports._names import clean, listed, name_of, shorten, shorten_apart, width


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain-name_1.onnx", "plain-name_1.onnx"),
        ("Größe 模型 é", "Größe 模型 é"),
        ("a\tb\r\n", r"a\tb\r\n"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\u2028line", r"\u2028line"),
        ("\udcff", r"\udcff"),
        ("\ue000", r"\ue000"),
        ("\x9b31m", r"\x9b31m"),
    ],
)
def test_characters_that_steer_become_visible(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize("limit", [1, 2, 5, 12, 30])
@pytest.mark.parametrize("text", ["mobilenetv1_025_224_keras.onnx", "模型" * 20, "a模" * 20])
def test_a_shortened_name_fits_and_keeps_both_ends(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert width(short) <= limit
    assert short == text or "…" in short


def test_names_that_differ_in_the_middle_still_differ_when_short() -> None:
    names = [f"organisation/a-rather-long-family-name-{i:03d}-patch16-224.in21k_ft_in1k" for i in range(300)]
    short = shorten_apart(names, 24)
    assert len(set(short)) == 300
    assert max(map(len, short)) <= 24
    assert "007" in short[7]


def test_names_that_fit_are_left_alone() -> None:
    assert shorten_apart(["a", "b" * 24, "a"], 24) == ["a", "b" * 24, "a"]


def test_one_name_that_starts_another_is_still_told_from_it() -> None:
    short = shorten_apart(["x" * 40 + "-a-" + "y" * 40, "x" * 40 + "-b-" + "y" * 40, "x" * 20], 20)
    assert short[2] == "x" * 20
    assert len(set(short)) == 3


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("folder:nets/a.onnx@3fa81c09", "nets/a.onnx"),
        ("folder:a@sha256:0123456789abcdef", "a"),
        ("folder:old/vgg16.pth", "old/vgg16.pth"),
        ("folder:me@home/model", "me@home/model"),
        ("plain", "plain"),
    ],
)
def test_the_readable_part_of_a_model_id(model_id: str, expected: str) -> None:
    assert name_of(model_id) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (list("abcd"), "a, b, c and d"),
        (list("abcde"), "a, b, c and 2 more"),
    ],
)
def test_lists_read_as_sentences(names: list[str], expected: str) -> None:
    assert listed(names) == expected
