"""`Ranking` → pandas `DataFrame`, one row per ranked model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuralrank.errors import MissingExtraError
from neuralrank.reports._rows import COLUMNS, flat_rows, score_names
from neuralrank.types import Ranking

if TYPE_CHECKING:
    import pandas

_INTEGERS = ("rank", "tie_group", "n_features", "n_samples_used", "params", "size_bytes")
_FLOATS = (
    "score", "interval_low", "interval_high", "p_best", "expected_accuracy", "expected_accuracy_low",
    "expected_accuracy_high", "extract_seconds",
)  # fmt: skip


def frame(ranking: Ranking) -> pandas.DataFrame:
    """Return the ranked models as a data frame, best first.

    The columns are those of the CSV report. Integers are nullable (`Int64`), unknown floats are NaN, `warnings` holds
    tuples of sentences. `frame.attrs` carries the run id, the score and the target's path.

    Args:
        ranking: the result to convert.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "to_pandas() needs the package 'pandas'. Got no such module. Run: pip install pandas"
        ) from error
    further = [f"score_{name}" for name in score_names(ranking)]
    table = pandas.DataFrame(flat_rows(ranking), columns=[*COLUMNS, *further])
    types = dict.fromkeys(_INTEGERS, "Int64") | dict.fromkeys([*_FLOATS, *further], "float64") | {"cached": "bool"}
    table = table.astype(types)
    table.attrs = {"run_id": ranking.run_id, "score": ranking.score, "target": ranking.target.path}
    return table
