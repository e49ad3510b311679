"""LogME: the log evidence of a Bayesian linear model from features to each label column.

Where we differ from the public code, and why: the null-space term is kept, so the value is right for n < d (the fast
path of thuml/LogME gives 2.58 instead of -0.35 on such data); the two precisions are maximised to convergence on a
grid of their ratio, where the public code stops after 11 fixed-point steps or at 1e-3; there are no absolute epsilons,
so the value does not depend on the scale of the features; features and labels are centred and one degree of freedom
goes to the intercept, so an offset does not matter either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neuralrank.scorers import scorer
from neuralrank.scorers._prepared import Prepared
from neuralrank.types import Score

_COARSE_STEPS = 49
_ROUNDS = 8


@scorer(
    family="evidence",
    tasks={"classification", "regression", "multilabel"},
    paper="You et al. 2021, ICML (LogME)",
)
def log_me(prepared: Prepared) -> Score:
    """Score the mean log evidence per sample, averaged over the target columns (one-hot classes, labels, targets).

    y = F w + e with w ~ N(0, 1/α), e ~ N(0, 1/β); α and β maximise the evidence.

    Returns:
        Score in nats per sample, unbounded; only comparable between features of the same samples and labels.

    Cost: the one decomposition plus O(rank · k).
    """
    evidence = log_evidence(
        prepared.spectrum.values**2,
        prepared.projected**2,
        prepared.target_squares,
        n_samples=prepared.n_samples - 1,
    )
    return Score(value=float(evidence.mean()))


def log_evidence(
    variances: NDArray[np.float64],
    projected_squares: NDArray[np.float64],
    total_squares: NDArray[np.float64],
    *,
    n_samples: int,
) -> NDArray[np.float64]:
    """Return the maximal log evidence per sample of each target column.

    For a ratio t = α/β the best β is n / Q(t) with Q(t) = Σ x² t/(σ + t) + r, which leaves one dimension to search:
    2 log p = Σ log(t/(σ + t)) - n log(Q(t)/n) - n - n log 2π. Dimensions without variance cancel.

    Args:
        variances: σ, shape (rank,); squared singular values.
        projected_squares: x² = (U'y)², shape (rank, n_targets).
        total_squares: ||y||², shape (n_targets,).
        n_samples: n, degrees of freedom.

    Returns:
        Shape (n_targets,), in nats per sample.
    """
    # What the features cannot reach; rounding may leave a tiny negative rest where they reach everything.
    rest = np.maximum(total_squares - projected_squares.sum(axis=0), 1e-12 * total_squares)

    def twice_evidence(log_ratio: NDArray[np.float64]) -> NDArray[np.float64]:
        """Evaluate at log t, shape (n_ratios, n_targets)."""
        ratio = np.exp(log_ratio)[:, None, :]
        kept = ratio / (variances[None, :, None] + ratio)  # (n_ratios, rank, n_targets)
        quadratic = np.einsum("rjc,jc->rc", kept, projected_squares) + rest
        return np.asarray(np.log(kept).sum(axis=1) - n_samples * np.log(quadratic / n_samples))

    low, high = np.log(variances.min()) - 14.0, np.log(variances.max()) + 14.0
    n_targets = len(total_squares)
    grid = np.linspace(low, high, _COARSE_STEPS)
    coarse = np.concatenate([_at_shared_ratio(t, variances, projected_squares, rest, n_samples) for t in grid])
    best = grid[coarse.argmax(axis=0)]
    step = (high - low) / (_COARSE_STEPS - 1)
    for _ in range(_ROUNDS):
        step /= 2
        around = best + np.array([-step, 0.0, step])[:, None]
        best = around[twice_evidence(around).argmax(axis=0), np.arange(n_targets)]
    maximum = twice_evidence(best[None])[0]
    return np.asarray((maximum / n_samples - 1.0 - np.log(2 * np.pi)) / 2)


def _at_shared_ratio(
    log_ratio: float,
    variances: NDArray[np.float64],
    projected_squares: NDArray[np.float64],
    rest: NDArray[np.float64],
    n_samples: int,
) -> NDArray[np.float64]:
    """Evaluate one ratio for every target at the cost of a matrix-vector product, shape (1, n_targets)."""
    kept = np.exp(log_ratio) / (variances + np.exp(log_ratio))
    quadratic = kept @ projected_squares + rest
    return np.asarray(np.log(kept).sum() - n_samples * np.log(quadratic / n_samples))[None]
