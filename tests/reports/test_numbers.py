import pytest

from neuralrank.reports import _numbers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (0, "0"),
        (999, "999"),
        (4_120, "4.12k"),
        (269_722, "270k"),
        (999_999, "1.00M"),
        (25_557_032, "25.6M"),
        (7 * 10**9, "7.00B"),
    ],
)
def test_counts_in_three_digits(value: int | None, expected: str) -> None:
    assert _numbers.short_count(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(12, "12 B"), (1_091_234, "1.09 MB"), (98_000_000_000, "98.0 GB")])
def test_sizes_in_decimal_units(value: int, expected: str) -> None:
    assert _numbers.file_size(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0.044, "0.04"), (0.996, "1.0"), (3.14, "3.1"), (99.96, "100"), (1234.5, "1,234")]
)
def test_seconds_have_at_least_two_digits(value: float, expected: str) -> None:
    assert _numbers.seconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "–"), (0.0, "<1 %"), (0.006, "1 %"), (0.5, "50 %"), (0.999, ">99 %"), (1.0, "100 %")]
)
def test_probabilities_never_claim_too_much(value: float | None, expected: str) -> None:
    assert _numbers.probability(value) == expected


@pytest.mark.parametrize(
    ("halves", "expected"), [([0.1], 2), ([0.029], 3), ([0.02], 3), ([0.0029], 4), ([0.4], 1), ([30.0], 0), ([None], 3)]
)
def test_decimals_follow_the_uncertainty(halves: list[float | None], expected: int) -> None:
    assert _numbers.decimals([0.5], halves) == expected


def test_a_rounded_zero_has_no_sign() -> None:
    assert _numbers.number(-0.0001, 3) == "0.000"
    assert _numbers.number(float("nan"), 3) == "–"
