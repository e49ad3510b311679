from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from neuralrank.reports._baselines import kendall_tau, static_orders
from neuralrank.types import Ranking

Make = Callable[..., Any]


@pytest.mark.parametrize("seed", range(5))
def test_kendall_tau_agrees_with_scipy_with_and_without_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 6, 30).astype(float), rng.normal(size=30)
    assert kendall_tau(list(x), list(y)) == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)


def test_kendall_tau_of_one_model_is_not_defined() -> None:
    assert kendall_tau([1.0], [1.0]) is None


def test_models_that_were_not_ranked_are_left_out(ranking: Ranking, make_ranking: Make) -> None:
    ids = [model.model_id for model in ranking.models]
    static = static_orders(
        make_ranking(3, baselines={"log_params": (ids[2], "folder:failed@00", ids[0], ids[1], ids[19])})
    )[0]
    assert (static.title, static.order) == ("log parameters", (2, 0, 1))
    assert static.tau == pytest.approx(-1 / 3)
