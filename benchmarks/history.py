"""Leave one data set out: how well do the results on others alone order networks for it?

    python benchmarks/history.py [--quick] [--tables benchmarks/evidence] [--seed 0]

For each of the five targets and each way of training of the committed truth table, the history is what the other four
targets hold: a share of the accuracies, drawn at random, or those of the networks that a user would have trained, the
five with the highest score among a random half; and, where it says so, the `neuralrank` score of every network there on
500 samples. Intervals of 95 % are over networks (whole lineages are drawn again) and over draws of the history; targets
and ways of training are taken as they are. Tables go to stdout.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.bench._cells import Cell, Question, make_cells
from neuralrank.bench.tables import Tables, read_tables
from neuralrank.evaluation import Estimate, draw_resamples, estimate, regrets, weighted_taus
from neuralrank.history import History, KnownModel, Prior, TargetFacts, expected_order, target_facts
from neuralrank.storage.outcomes import Outcome

Floats = NDArray[np.float64]
SHARES = (0.01, 0.05, 0.2, 1.0)
CHOSEN = "5 best-scored"
N_CHOSEN = 5
DIGITS = tuple("0123456789")
CLASSES: Mapping[str, Sequence[str]] = {
    "mnist": DIGITS,
    "sign_digits": DIGITS,
    "kmnist_10k": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "fashion_mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    "cifar10_jpeg": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class World:
    """The evidence as arrays over networks."""

    models: tuple[KnownModel, ...]
    lineages: tuple[str, ...]
    log_params: Floats
    targets: Mapping[str, TargetFacts]
    scores: Mapping[str, Floats]
    """By target, shape (n_models,)."""
    cells: tuple[Cell, ...]

    def elsewhere(self, cell: Cell) -> dict[str, Floats]:
        """Return the accuracies on the other targets, same way of training."""
        return {
            other.target: other.accuracy
            for other in self.cells
            if other.regime == cell.regime and other.target != cell.target
        }


Known = Mapping[str, NDArray[np.bool_]]
"""By target, which accuracies the history holds."""
Method = Callable[[World, Cell, Known], Floats]


def read_world(folder: Path) -> World:
    """Return the networks, targets, scores and truth of the evidence."""
    tables = read_tables(folder)
    networks = tables.networks
    cells = make_cells(tables, Question())
    assert all(len(cell.networks) == len(networks.model) for cell in cells)
    models = tuple(
        KnownModel(model_id=model, name=model, architecture=architecture, base_model=(parent,) if parent else ())
        for model, architecture, parent in zip(networks.model, networks.architecture, networks.parent, strict=True)
    )
    facts = {
        name: target_facts(
            fingerprint=name, name=name, modality="image", task="classification", class_names=CLASSES[name]
        )
        for name in tables.truth.target.names
    }
    return World(
        models=models,
        lineages=networks.lineage,
        log_params=np.log(networks.n_params),
        targets=facts,
        scores={name: _scores(tables, name) for name in facts},
        cells=tuple(cells),
    )


def _scores(tables: Tables, target: str) -> Floats:
    """Return the default score on the first draw of 500 samples."""
    scores = tables.scores
    rows = (scores.n_probe == 500) & (scores.draw == 0)
    rows &= scores.target.codes == scores.target.names.index(target)
    rows &= scores.score.codes == scores.score.names.index("neuralrank")
    place = {model: index for index, model in enumerate(tables.networks.model)}
    found = np.full(len(place), np.nan)
    for code, value in zip(scores.model.codes[rows], scores.value[rows], strict=True):
        found[place[scores.model.names[code]]] = value
    return found


# --- what orders the networks ------------------------------------------------------------------------------------


def expected(
    world: World,
    cell: Cell,
    known: Known,
    *,
    outcomes: bool = True,
    rankings: bool,
    alike: str = "description",
    relatives: bool = True,
) -> Prior:
    """Return what the product expects of a cell.

    Args:
        world: the evidence.
        cell: what is asked about.
        known: which accuracies on other targets the history holds.
        outcomes: whether it holds any.
        rankings: whether it holds scores of the other targets.
        alike: 'nothing' counts every target the same, 'description' is what is known before any forward pass, 'scores'
            also knows how the networks score on the target asked about.
        relatives: whether relatives of a network count.
    """
    models = world.models if relatives else tuple(replace(m, architecture=None, base_model=()) for m in world.models)
    others = world.elsewhere(cell)
    ids = [model.model_id for model in models]
    reported = [
        Outcome(model_id=ids[place], fingerprint=name, data=name, accuracy=float(values[place]))
        for name, values in (others.items() if outcomes else ())
        for place in np.flatnonzero(known[name])
    ]
    shown = (*others, cell.target) if alike == "scores" else tuple(others)
    scores = {name: dict(zip(ids, map(float, world.scores[name]), strict=True)) for name in shown}
    facts = {
        name: replace(one, concepts=frozenset()) if alike == "nothing" else one for name, one in world.targets.items()
    }
    history = History(
        outcomes=reported,
        scores=scores if rankings else {},
        score_names=dict.fromkeys(scores, "neuralrank"),
        targets=facts,
        models={model.model_id: model for model in models},
    )
    return expected_order(models, facts[cell.target], history)


def prior(**options: Any) -> Method:
    """Return the order that the product expects, with options of `expected`."""

    def method(world: World, cell: Cell, known: Known) -> Floats:
        rows = {row.model_id: row for row in expected(world, cell, known, **options).rows}
        found = [rows[model.model_id].advantage for model in world.models]
        return np.array([np.nan if advantage is None else advantage for advantage in found])

    return method


def unknown_in_the_middle(method: Method) -> Method:
    """Return a method that takes what is not known for average instead of putting it last."""
    return lambda world, cell, known: np.nan_to_num(method(world, cell, known))


def mean_accuracy(world: World, cell: Cell, known: Known) -> Floats:
    """Return the mean of the known accuracies, nan where none is known."""
    values = np.array([np.where(known[name], accuracy, np.nan) for name, accuracy in world.elsewhere(cell).items()])
    n_known = np.sum(~np.isnan(values), axis=0)
    return np.where(n_known > 0, np.nansum(values, axis=0) / np.maximum(n_known, 1), np.nan)


def parameters(world: World, _cell: Cell, _known: Known) -> Floats:
    """Return the number of parameters."""
    return world.log_params


def nothing(world: World, _cell: Cell, _known: Known) -> Floats:
    """Return the same for every network: as good as a random order."""
    return np.zeros(len(world.models))


def own_score(world: World, cell: Cell, _known: Known) -> Floats:
    """Return the score on the target itself, which needs every network to run on it."""
    return world.scores[cell.target]


# --- judging -----------------------------------------------------------------------------------------------------


def draw_known(world: World, cell: Cell, share: float | str, seed: int) -> Known:
    """Draw which accuracies on the other targets are known."""
    others = sorted(world.elsewhere(cell))
    generator = np.random.default_rng([seed, world.cells.index(cell)])
    known = np.zeros((len(others), len(world.models)), dtype=np.bool_)
    if isinstance(share, str):
        for row, name in enumerate(others):
            pool = generator.choice(len(world.models), len(world.models) // 2, replace=False)
            known[row, pool[np.argsort(-world.scores[name][pool])[:N_CHOSEN]]] = True
    else:
        known.flat[generator.choice(known.size, max(1, round(share * known.size)), replace=False)] = True
    return dict(zip(others, known, strict=True))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Weighted τ and regret of one method in every cell."""

    taus: Floats
    """Shape (n_cells, 1 + n_resamples): the value, then its resamples."""
    regrets: Floats

    def over(self, values: Floats, cells: NDArray[np.bool_]) -> Estimate:
        """Return the mean over some cells."""
        mean = values[cells].mean(axis=0)
        return estimate(float(mean[0]), mean[1:])


def judge(
    world: World, method: Method, share: float | str, *, n_draws: int, counts: NDArray[np.int64], seed: int
) -> Judged:
    """Judge a method in every cell; each resample of the networks takes one draw of the history in turn."""
    n_draws = n_draws if share != 1.0 else 1
    found = np.empty((2, len(world.cells), 1 + len(counts)))
    for place, cell in enumerate(world.cells):
        values = np.array([method(world, cell, draw_known(world, cell, share, seed + d)) for d in range(n_draws)])
        if np.all(values == values[:1]):
            values = values[:1]
        for row, measure in enumerate((_taus, regrets)):
            found[row, place, 0] = measure(values, cell.accuracy).mean()
            for draw in range(len(values)):
                mine = slice(draw, None, len(values))
                found[row, place, 1:][mine] = measure(values[draw], cell.accuracy, counts[mine])[0]
    return Judged(taus=found[0], regrets=100 * found[1])


def _taus(values: Floats, accuracy: Floats, counts: NDArray[np.int64] | None = None) -> Floats:
    return np.asarray(np.nan_to_num(weighted_taus(values, accuracy, counts)))


def coverage(world: World, share: float | str, *, seed: int) -> tuple[float, float]:
    """Return how often the real advantage lies within 1.96 standard errors of the expected one, and their mean."""
    hits, errors = [], []
    for cell in world.cells:
        real = (cell.accuracy - cell.accuracy.mean()) / cell.accuracy.std()
        rows = {
            row.model_id: row for row in expected(world, cell, draw_known(world, cell, share, seed), rankings=True).rows
        }
        for model, value in zip(world.models, real, strict=True):
            row = rows[model.model_id]
            if row.advantage is not None and row.stderr is not None:
                hits.append(abs(value - row.advantage) < 1.96 * row.stderr)
                errors.append(row.stderr)
    return float(np.mean(hits)), float(np.mean(errors))


METHODS: Mapping[str, tuple[str, Method, Sequence[float | str]]] = {
    "random": ("–", nothing, (1.0,)),
    "number of parameters": ("–", parameters, (1.0,)),
    "mean of the known accuracies": ("", mean_accuracy, (*SHARES, CHOSEN)),
    "prior, accuracies alone": ("", prior(rankings=False), (*SHARES, CHOSEN)),
    "prior, rankings alone": ("none", prior(outcomes=False, rankings=True), (1.0,)),
    "**prior, both**": ("", prior(rankings=True), (*SHARES, CHOSEN)),
    "prior, accuracies alone, unknown in the middle": (
        "",
        unknown_in_the_middle(prior(rankings=False)),
        (0.01, 0.05, CHOSEN),
    ),
    "prior, accuracies alone, no relatives": ("", prior(rankings=False, relatives=False), (0.05, 0.2, 1.0)),
    "prior, both, all targets alike": ("", prior(rankings=True, alike="nothing"), (0.2, 1.0)),
    "prior, both, similarity by scores too": ("", prior(rankings=True, alike="scores"), (0.05, 0.2, 1.0)),
    "`neuralrank` on the target itself": ("–", own_score, (1.0,)),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer draws and resamples")
    parser.add_argument("--tables", type=Path, default=Path(__file__).parent / "evidence", help="folder of the tables")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    options = parser.parse_args()
    started = time.perf_counter()
    world = read_world(options.tables)
    counts = draw_resamples(
        len(world.models), n_resamples=40 if options.quick else 400, seed=options.seed, groups=world.lineages
    )
    heads = np.array([cell.regime.kind == "head" for cell in world.cells])
    print("| order | accuracies known | weighted τ | heads | fine-tuning | regret@1, points |")
    print("|:--|:--|--:|--:|--:|--:|")
    for name, (label, method, shares) in METHODS.items():
        for share in shares:
            n_draws = 2 if options.quick else 10
            judged = judge(world, method, share, n_draws=n_draws, counts=counts, seed=options.seed)
            known = label or _share(share)
            columns = [
                *(_shown(judged.over(judged.taus, scope), 3) for scope in (heads | ~heads, heads, ~heads)),
                _shown(judged.over(judged.regrets, heads | ~heads), 1),
            ]
            print(f"| {name} | {known} | {' | '.join(columns)} |", flush=True)
    print("\n| accuracies known | real advantage within ± 1.96 standard errors | mean standard error |\n|:--|--:|--:|")
    for share in (*SHARES, CHOSEN):
        hits, error = coverage(world, share, seed=options.seed)
        print(f"| {_share(share)} | {100 * hits:.0f} % | {error:.2f} |")
    print(f"\n{len(world.models)} networks, {len(world.cells)} cells, {time.perf_counter() - started:.0f} s")


def _share(share: float | str) -> str:
    return f"{100 * share:.0f} %" if isinstance(share, float) else share


def _shown(found: Estimate, digits: int) -> str:
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


if __name__ == "__main__":
    main()
