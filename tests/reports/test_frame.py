import sys
from collections.abc import Callable
from typing import Any

import pytest

from neuralrank.errors import MissingExtraError
from neuralrank.reports._rows import COLUMNS
from neuralrank.reports.frame import frame
from neuralrank.types import Ranking

Make = Callable[..., Any]


def test_one_row_per_model_with_the_columns_of_the_spreadsheet(ranking: Ranking) -> None:
    pytest.importorskip("pandas")
    table = frame(ranking)
    assert list(table.columns) == [*COLUMNS, "score_log_me", "score_h_score", "score_knn"]
    assert table["rank"].tolist() == list(range(1, 21))
    assert table.loc[0, "score"] == 0.8123
    assert table["params"].isna().sum() == 1
    assert str(table["params"].dtype) == "Int64"
    assert table["score_h_score"].isna().tolist() == [False] * 19 + [True]
    assert table.attrs["target"] == "photos/cifar10"


def test_no_models_give_an_empty_frame(make_ranking: Make) -> None:
    pytest.importorskip("pandas")
    assert frame(make_ranking(0)).shape == (0, len(COLUMNS))


def test_missing_pandas_is_said(ranking: Ranking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError) as raised:
        frame(ranking)
    assert str(raised.value) == "to_pandas() needs the package 'pandas'. Got no such module. Run: pip install pandas"
