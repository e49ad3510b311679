"""Why a model is expected where it is, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

from neuralrank.history._results import Mark

NOTHING = "no past result of it or a relative"


def of_marks(marks: Mapping[str, Mark], weights: Mapping[str, float], names: Mapping[str, str]) -> str:
    """Tell the result that counts most: '1st of 12 on fashion-mnist (similarity 0.71)'.

    Args:
        marks: of the model, by data set; at least one.
        weights: similarity of each data set.
        names: of the data sets.
    """
    first = min(marks, key=lambda key: (-weights[key] * marks[key].weight, names[key]))
    more = f" and {len(marks) - 1} more" if len(marks) > 1 else ""
    return f"{_place(marks[first])} on {names[first]} (similarity {weights[first]:.2f}){more}"


def _place(mark: Mark) -> str:
    if not mark.measured:
        return f"scored {ordinal(mark.place)} of {mark.n}"
    return "the only one measured" if mark.n == 1 else f"{ordinal(mark.place)} of {mark.n}"


def of_relatives(family: str | None, advantage: float) -> str:
    """Tell that only relatives have results, and which way they point."""
    where = "better" if advantage > 0 else "worse"
    return f"no past result; its relatives{f' ({family})' if family else ''} did {where} than the average model"


def ordinal(number: int) -> str:
    """Write a place as a word for people.

    Example:
        >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 112)]
        ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '112th']
    """
    endings = {1: "st", 2: "nd", 3: "rd"}
    return f"{number}{'th' if 10 <= number % 100 <= 20 else endings.get(number % 10, 'th')}"
