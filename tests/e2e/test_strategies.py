"""Runs that end early: each strategy over small networks, what it shows, and what a second run does not do again."""

import csv
import importlib.util
import io
import json
import shutil
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import bad_models
import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_texts import write_bert
from tiny_zoo import CARD, Run, convolution, crafted_filters, draw_images, network, random_filters, save

import neuralrank
from neuralrank import Ranking, features, waiting
from neuralrank.engines.worker import Worker
from neuralrank.errors import UsageError
from neuralrank.limits import Limits
from neuralrank.passes import make_worker
from neuralrank.preparing import Options, prepare
from neuralrank.ranking import Progress, list_models, resume
from neuralrank.storage.catalogue import open_catalogue
from neuralrank.storage.journal import take_up, unfinished_runs
from neuralrank.types import Failure, ModelRecord

N_PER_CLASS = 150
N_SAMPLES = 4 * N_PER_CLASS
STRATEGIES = ("full", "racing", "successive_halving", "asynchronous_halving")
POOR = {"six.onnx": 6, "four.onnx": 4, "three.onnx": 3, "one.onnx": 1}
Data = tuple[NDArray[np.uint8], NDArray[np.int64]]


@pytest.fixture(scope="module")
def data() -> Data:
    return draw_images(n_per_class=N_PER_CLASS)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that sees the classes and four random ones."""
    folder = tmp_path_factory.mktemp("race") / "models"
    save(convolution(crafted_filters()), folder / "good.onnx", CARD)
    for seed, (name, n) in enumerate(POOR.items()):
        save(convolution(random_filters(n, seed=seed)), folder / name, CARD)
    return folder


@pytest.fixture(scope="module")
def warm(zoo: Path, data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that knows all models on all samples."""
    cache = tmp_path_factory.mktemp("warm")
    folder = tmp_path_factory.mktemp("catalogue")
    neuralrank.rank(zoo, data, also=(), probe=N_SAMPLES, cache_dir=cache, catalogue=folder)
    return cache


@pytest.fixture
def own_warm(warm: Path, tmp_path: Path) -> Path:
    """A copy of that cache for one test to write to."""
    return Path(shutil.copytree(warm, tmp_path / "warm"))


@pytest.fixture
def npz(data: Data, tmp_path: Path) -> Path:
    path = tmp_path / "photos.npz"
    np.savez(path, images=data[0], labels=data[1])
    return path


def rank(models: Any, data: Any, **options: Any) -> Ranking:
    return neuralrank.rank(models, data, **{"also": (), "probe": N_SAMPLES, **options})


def scores(ranking: Ranking) -> dict[str, float]:
    return {model.name: model.score for model in ranking.models}


def used(ranking: Ranking) -> dict[str, int]:
    return {model.name: model.n_samples_used for model in ranking.models}


def passes(ranking: Ranking) -> int:
    return int(ranking.cost["n_samples_run_now"])


def assert_sane(ranking: Ranking) -> None:
    """Check what holds of every ranking, however it was come by."""
    models = ranking.models
    assert [model.rank for model in models] == list(range(1, len(models) + 1))
    order = [(-model.n_samples_used, -model.score) for model in models]
    assert order == sorted(order)  # those that went on are before those that did not
    intervals = [model.interval for model in models if model.interval is not None]
    assert len(intervals) == len(models)
    for model, (low, high) in zip(models, intervals, strict=True):
        assert low <= model.score <= high
    assert sum(model.p_best or 0.0 for model in models) == pytest.approx(1.0)
    ties = [model.tie_group for model in models]
    assert ties[0] == 1
    assert set(np.diff(ties)) <= {0, 1}
    assert ranking.cost["n_models"] == len(models)
    assert ranking.cost["n_samples_used"] == sum(model.n_samples_used for model in models)
    assert ranking.cost["n_samples_of_full_run"] == len(models) * ranking.target.n_probe
    assert (ranking.cost["seconds_used"] > 0.0) == bool(models)
    schema = json.loads((files("neuralrank") / "schemas" / "ranking-1.json").read_text("utf-8"))
    jsonschema.validate(json.loads(ranking.to_json()), schema)


# --- each strategy -----------------------------------------------------------------------------------------------


def test_a_race_finds_the_winner_of_the_full_run_with_fewer_samples(zoo: Path, data: Data, own_warm: Path) -> None:
    whole = rank(zoo, data, cache_dir=own_warm)
    raced = rank(zoo, data, cache_dir=own_warm, strategy="racing")
    assert whole.stopped == "all models scored"
    assert raced.stopped.startswith("decided: the best model is known with 0.95 confidence after ")
    assert raced.best().name == whole.best().name == "good.onnx"
    assert raced.best().left is None
    assert set(used(whole).values()) == {N_SAMPLES}
    assert max(used(raced).values()) < N_SAMPLES
    for model in raced.models[1:]:
        assert model.left == f"not the best with 0.95 confidence after {model.n_samples_used:,} samples"
    assert raced.cost["n_samples_used"] < 0.6 * raced.cost["n_samples_of_full_run"]
    assert raced.models[0].p_best == pytest.approx(1.0, abs=0.02)
    for ranking in (whole, raced):
        assert_sane(ranking)
        assert passes(ranking) == 0


@pytest.mark.parametrize("strategy", ["successive_halving", "asynchronous_halving"])
def test_halvings_find_the_winner_too(zoo: Path, data: Data, own_warm: Path, strategy: str) -> None:
    halved = rank(zoo, data, cache_dir=own_warm, strategy=strategy)
    assert halved.best().name == "good.onnx"
    assert halved.stopped.startswith("halved down to ")
    assert used(halved)["good.onnx"] == N_SAMPLES
    for model in halved.models:
        if model.n_samples_used < N_SAMPLES:
            assert model.left == f"below the better 1 in 3 after {model.n_samples_used:,} samples"
    assert_sane(halved)


def test_one_option_of_a_race_makes_it_one(zoo: Path, data: Data, own_warm: Path) -> None:
    for option in ({"confidence": 0.9}, {"tolerance": 1.0}):
        ranking = rank(zoo, data, cache_dir=own_warm, **option)
        assert ranking.settings["strategy"] == "racing"
        assert ranking.stopped.startswith("decided")


def test_a_race_for_the_best_two_keeps_two(zoo: Path, data: Data, own_warm: Path) -> None:
    whole = rank(zoo, data, cache_dir=own_warm)
    raced = rank(zoo, data, cache_dir=own_warm, strategy="racing", top=2, tolerance=0.0)
    assert [model.name for model in raced.models[:2]] == [model.name for model in whole.models[:2]]
    assert sum(model.left is None for model in raced.models) >= 2
    everyone = rank(zoo, data, cache_dir=own_warm, strategy="racing", top=50)
    assert all(model.left is None for model in everyone.models)
    assert_sane(raced)
    assert_sane(everyone)


def test_a_race_runs_each_sample_once_and_the_full_run_only_the_rest(zoo: Path, data: Data) -> None:
    raced = rank(zoo, data, strategy="racing")
    assert passes(raced) == sum(used(raced).values()) < 5 * N_SAMPLES
    assert_sane(raced)
    whole = rank(zoo, data)
    assert passes(whole) == 5 * N_SAMPLES - passes(raced)
    assert passes(rank(zoo, data, strategy="racing")) == 0
    again = rank(zoo, data, strategy="racing")
    assert scores(again) == scores(raced)
    assert used(again) == used(raced)


@pytest.mark.parametrize("format_", ["table", "json", "markdown", "html", "csv"])
def test_every_report_says_what_was_left_out(run: Run, zoo: Path, npz: Path, own_warm: Path, format_: str) -> None:
    common = ("rank", zoo, "--data", npz, "--probe", N_SAMPLES, "--also", "", "--cache-dir", own_warm)
    outcome = run(*common, "--strategy", "racing", "--format", format_)
    assert outcome.code == 0
    assert "To go on" not in outcome.err
    match format_:
        case "json":
            assert {row["left"] is None for row in outcome.ranking["ranking"]} == {True, False}
            assert outcome.ranking["cost"]["n_samples_used"] < 5 * N_SAMPLES
        case "csv":
            rows = csv.DictReader(io.StringIO(outcome.out))
            assert all(int(row["n_samples_used"]) < N_SAMPLES for row in rows)
        case _:
            assert "forward passes of the" in outcome.out
            assert "decided: " in outcome.out


# --- data of every kind ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", ["groups", "duplicates", "regression", "multilabel", "tiny", "many classes"])
def test_every_strategy_takes_data_of_every_kind(
    zoo: Path, data: Data, own_warm: Path, strategy: str, kind: str
) -> None:
    images, labels = data
    rng = np.random.default_rng(3)
    given: Any = labels
    options: dict[str, Any] = {}
    match kind:
        case "groups":
            options = {"groups": np.arange(N_SAMPLES) // 3}
        case "duplicates":
            images = images.copy()
            images[1::2] = images[::2]
        case "regression":
            given = images.astype(float).mean(axis=(1, 2))[:, 0] / 255.0 + 0.01 * rng.normal(size=N_SAMPLES)
            options = {"task": "regression"}
        case "multilabel":
            given = np.stack([labels % 2, labels // 2, labels == 3], axis=1)
            options = {"task": "multilabel"}
        case "tiny":
            options = {"probe": 20}
        case "many classes":
            given = np.arange(N_SAMPLES) % 250
    ranking = rank(zoo, (images, given), cache_dir=own_warm, strategy=strategy, **options)
    assert len(ranking.models) == 5
    assert ranking.failures == ()
    assert_sane(ranking)
    if kind == "tiny":
        assert set(used(ranking).values()) == {20}
    if kind == "groups" and strategy == "racing":
        assert ranking.best().name == "good.onnx"


def test_texts_are_raced_too(tmp_path: Path) -> None:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("the transformers extra is not installed")
    rng = np.random.default_rng(0)
    fillers = [" ".join(rng.choice(["the", "film", "was", "very"], size=9)) for _ in range(120)]
    texts = [f"{filler} {number} {('bad', 'good')[number % 2]}" for number, filler in enumerate(fillers)]
    write_bert(tmp_path / "models" / "bert")
    raced = rank(tmp_path / "models", (texts, np.arange(120) % 2), strategy="racing", probe=120)
    assert [model.name for model in raced.models] == ["bert"]
    assert raced.stopped == "decided: the best model is known with 0.95 confidence after 40 samples"
    assert passes(raced) == 40


def test_a_race_by_a_score_without_terms_of_samples_goes_by_those_of_blocks(
    zoo: Path, data: Data, own_warm: Path
) -> None:
    raced = rank(zoo, data, cache_dir=own_warm, strategy="racing", score="log_me")
    assert raced.best().name == "good.onnx"
    assert raced.stopped.startswith("decided")
    assert_sane(raced)


@pytest.mark.parametrize("score", ["mean_rank:neuralrank,log_me", "log_params"])
@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_only_one_score_of_the_data_can_be_raced_by(zoo: Path, data: Data, score: str, strategy: str) -> None:
    with pytest.raises(UsageError) as caught:
        rank(zoo, data, score=score, strategy=strategy)
    assert str(caught.value) == (
        f"--strategy {strategy} needs one score of the data. Got {score}. Use --score neuralrank, or --strategy full."
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strategy": "full", "confidence": 0.9}, "--confidence needs --strategy racing. Got full."),
        ({"strategy": "successive_halving", "tolerance": 1.0}, "--tolerance needs --strategy racing. Got succ"),
        ({"confidence": 1.0}, "--confidence needs a share from 0.5 to below 1. Got 1."),
        ({"confidence": float("nan")}, "--confidence needs a share from 0.5 to below 1. Got nan."),
        ({"tolerance": -1.0}, "--tolerance needs 0 to 100 points of accuracy. Got -1."),
        ({"strategy": "racing", "top": 0}, "--top needs at least 1 model. Got 0."),
        ({"strategy": "successive_halving", "top": 0}, "--top needs at least 1 model. Got 0."),
        ({"top": -3}, "--top needs at least 1 model. Got -3."),
        ({"max_seconds": 0.0}, "--max-seconds needs a finite number above 0. Got 0."),
        ({"max_seconds": float("nan")}, "--max-seconds needs a finite number above 0. Got nan."),
        ({"max_memory": -1.0}, "--max-memory needs a finite number above 0. Got -1."),
        ({"max_models": 0}, "--max-models needs at least 1 model. Got 0."),
    ],
)
def test_an_option_out_of_range_is_one_sentence(zoo: Path, data: Data, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        rank(zoo, data, **options)
    assert str(caught.value).startswith(sentence)


# --- models that fail --------------------------------------------------------------------------------------------


def bright_fails(folder: Path, name: str) -> None:
    """Write the good network with the square root of 0.9 less the mean of the image in it: NaN for white ones."""
    from onnx import helper

    weights = crafted_filters()
    body = [
        helper.make_node("Conv", ["image", "weights"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["rectified"]),
        helper.make_node("GlobalAveragePool", ["rectified"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Sub", ["bound", "column"], ["left"]),
        helper.make_node("Sqrt", ["left"], ["root"]),
        helper.make_node("Concat", ["flat", "root"], ["features"], axis=1),
    ]
    stored = {"weights": weights, "last": np.array([1]), "bound": np.float32([0.9])}
    save(network(*body, stored=stored, n_features=len(weights) + 1), folder / name, CARD)


def with_white_image(data: Data, folder: Path, rung: int) -> Data:
    """Return the images with a white one that no rung of a halving before `rung` has."""
    setup = prepare(Options(models=folder, data=data, probe=N_SAMPLES, strategy="successive_halving", also=()))
    later = np.setdiff1d(setup.rungs[rung].probe.indices, setup.rungs[rung - 1].probe.indices)
    images = data[0].copy()
    images[later[0]] = 255
    return images, data[1]


def test_a_model_that_fails_at_a_later_rung_is_a_failure_and_the_others_go_on(
    zoo: Path, data: Data, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(zoo, tmp_path / "models"))
    bright_fails(folder, "nan.onnx")
    (folder / "broken.onnx").write_bytes(b"damaged")
    told: list[Progress] = []
    photos = with_white_image(data, folder, 1)
    halved = rank(folder, photos, strategy="successive_halving", progress=told.append)
    failures = {failure.model_id.partition("@")[0]: failure for failure in halved.failures}
    assert set(failures) == {"folder:nan.onnx", "folder:broken.onnx"}
    assert failures["folder:nan.onnx"].stage == "extract"
    assert "Got NaN or infinity for 1 of 90 samples" in failures["folder:nan.onnx"].error
    assert {model.name for model in halved.models} == {"good.onnx", *POOR}
    assert halved.best().name == "good.onnx"
    assert_sane(halved)
    ends = [event for event in told if event.n_models_done is not None]
    assert sorted(event.n_models_done or 0 for event in ends) == list(range(1, 8))[: len(ends)]
    assert len({event.model for event in ends}) == len(ends)
    again = rank(folder, photos, strategy="successive_halving")  # the run had ended: the model is tried again
    assert again.failures == halved.failures
    assert (scores(again), used(again)) == (scores(halved), used(halved))
    assert passes(again) == 1  # the sample that it gives no number for


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_all_models_fail_the_failures_are_the_result(data: Data, tmp_path: Path, strategy: str) -> None:
    bright_fails(tmp_path / "models", "one.onnx")
    bright_fails(tmp_path / "models" / "two", "two.onnx")
    white = np.maximum(data[0][:40], 250)
    ranking = rank(tmp_path / "models", (white, np.arange(40) % 2), strategy=strategy, probe=40)
    assert ranking.models == ()
    assert {failure.stage for failure in ranking.failures} == {"extract"}
    assert ranking.cost["n_samples_used"] == 0


# --- what a run knows that goes on -------------------------------------------------------------------------------


@pytest.fixture
def planted(zoo: Path, npz: Path, own_warm: Path, own_catalogue: Path) -> Callable[..., Ranking]:
    """Rank in a run that was left, and in which the good network had failed."""

    def call(stage: Any = "load", *, n_samples: int = 1, now: Mapping[str, Any], **options: Any) -> Ranking:
        options = {"cache_dir": own_warm, **options}
        left = rank(zoo, npz, max_seconds=1e-6, limits=Limits(n_jobs=1), **options)
        [good] = [record for record in list_models(zoo) if "good" in record.model_id]
        with open_catalogue(own_catalogue) as opened:
            journal = take_up(opened, left.run_id)
            assert journal is not None
            with journal:
                journal.failed(Failure(model_id=good.model_id, stage=stage, error="Planted."), n_samples)
        ranking = rank(zoo, npz, **options, **now)
        assert ranking.run_id == left.run_id
        with open_catalogue(own_catalogue) as opened:
            assert unfinished_runs(opened) == []
        return ranking

    return call


def test_what_failed_in_a_run_fails_again_untried_when_it_goes_on(planted: Callable[..., Ranking]) -> None:
    ranking = planted(now={"limits": Limits(n_jobs=1)})
    assert [failure.error for failure in ranking.failures] == ["Planted."]
    assert set(scores(ranking)) == set(POOR)


@pytest.mark.parametrize(
    ("stage", "now"),
    [("load", Limits(n_jobs=1, memory_bytes=10**10)), ("load", Limits(n_jobs=2)), ("fetch", Limits(n_jobs=1))],
)
def test_what_other_limits_or_a_network_may_mend_is_tried_again(
    planted: Callable[..., Ranking], stage: str, now: Limits
) -> None:
    ranking = planted(stage, now={"limits": now})
    assert ranking.failures == ()
    assert ranking.best().name == "good.onnx"


def test_what_failed_on_more_samples_counts_up_to_there(planted: Callable[..., Ranking]) -> None:
    ranking = planted(n_samples=N_SAMPLES, now={"limits": Limits(n_jobs=1)}, strategy="racing")
    assert ranking.failures == ()  # the race ends before
    assert ranking.best().name == "good.onnx"
    assert ranking.best().n_samples_used < N_SAMPLES


def test_options_may_be_numbers_of_numpy(zoo: Path, npz: Path, own_warm: Path) -> None:
    given = {"probe": np.int64(N_SAMPLES), "seed": np.int32(0), "confidence": np.float32(0.9), "models": zoo}
    assert neuralrank.rank(data=npz, also=(), cache_dir=own_warm, **given).best().name == "good.onnx"


# --- limits ------------------------------------------------------------------------------------------------------


def test_time_that_is_over_at_once_returns_what_there_is(run: Run, zoo: Path, npz: Path) -> None:
    common = ("rank", zoo, "--data", npz, "--probe", N_SAMPLES, "--also", "")
    outcome = run(*common, "--max-seconds", 1e-6, "--format", "json")
    assert outcome.code == 1
    assert outcome.ranking["stopped"] == "time budget: 0 of 5 models were scored"
    assert outcome.ranking["failures"] == []
    run_id = outcome.ranking["run_id"]
    assert f"To go on: neuralrank rank --resume {run_id}\n" in outcome.err
    wrong = run("rank", "--resume", run_id, "--probe", 5)
    assert wrong.code == 2
    assert wrong.err.startswith("error: --resume takes models, data and options from the run. Got --probe as well.")
    resumed = run("rank", "--resume", run_id, "--format", "json")
    assert resumed.code == 0
    assert resumed.ranking["run_id"] == run_id
    assert resumed.ranking["stopped"] == "all models scored"
    assert len(resumed.ranking["ranking"]) == 5
    gone = run("rank", "--resume", run_id)
    assert gone.code == 2
    assert gone.err == (f"error: --resume needs the id of a run that has not ended. Got {run_id!r}. There are: none.\n")


def test_what_is_known_is_ranked_whatever_the_time(zoo: Path, data: Data, own_warm: Path) -> None:
    ranking = rank(zoo, data, cache_dir=own_warm, max_seconds=1e-6, limits=Limits(n_jobs=2))
    assert ranking.stopped == "time budget: 2 of 5 models were scored"
    assert len(ranking.models) == 2
    assert_sane(ranking)
    with pytest.raises(UsageError) as caught:
        resume(ranking.run_id)
    assert str(caught.value) == (
        f"--resume needs a run of files. Got {ranking.run_id}, which was given Python objects. "
        "Call rank with them again: it continues."
    )
    again = rank(zoo, data, cache_dir=own_warm)
    assert again.run_id == ranking.run_id
    assert len(again.models) == 5


def test_the_first_models_listed_are_run_and_the_number_of_others_is_told(
    zoo: Path, data: Data, own_warm: Path
) -> None:
    ranking = rank(zoo, data, cache_dir=own_warm, max_models=2)
    assert {model.name for model in ranking.models} == {"four.onnx", "good.onnx"}
    assert ranking.cost["n_models_left_out"] == 3
    assert len(rank(zoo, data, cache_dir=own_warm, max_models=9).models) == 5


def test_memory_is_shared_among_the_jobs(data: Data, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    bad_models.greedy_model(folder)
    ranking = rank(folder, data, probe=40, max_memory=2.0, limits=Limits(n_jobs=2))
    [failure] = ranking.failures
    assert failure.error == (
        "The model asked for more memory than the limit of 1.0 GB while it was extracting. "
        "Raise --model-memory if the machine has more."
    )


# --- models that stay loaded between rungs -----------------------------------------------------------------------


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models for which a worker was made."""
    names: list[str] = []

    def noted(function: str, record: ModelRecord, **options: Any) -> Worker:
        names.append(record.name)
        return make_worker(function, record, **options)

    monkeypatch.setattr(features, "make_worker", noted)
    return names


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_model_is_loaded_once_however_many_rungs_it_sees(
    zoo: Path, data: Data, loaded: list[str], own_warm: Path, tmp_path: Path, strategy: str
) -> None:
    options: dict[str, Any] = {"strategy": strategy} | ({"tolerance": 0.0} if strategy == "racing" else {})
    known = rank(zoo, data, cache_dir=own_warm, **options)
    assert loaded == []
    ranking = rank(zoo, data, cache_dir=tmp_path / "cache", **options)
    assert sorted(loaded) == sorted(["good.onnx", *POOR])
    assert used(ranking) == used(known)
    assert scores(ranking) == pytest.approx(scores(known), abs=1e-6)


def test_without_room_to_wait_models_are_loaded_again_and_rank_the_same(
    zoo: Path, data: Data, loaded: list[str], own_warm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING", 0)
    ranking = rank(zoo, data, cache_dir=tmp_path / "cache", strategy="successive_halving")
    known = rank(zoo, data, cache_dir=own_warm, strategy="successive_halving")
    assert len(loaded) > 5
    assert used(ranking) == used(known)
    assert scores(ranking) == pytest.approx(scores(known), abs=1e-6)
    assert max(used(ranking).values()) == N_SAMPLES


def test_no_worker_is_left_when_a_race_is_over(zoo: Path, data: Data, tmp_path: Path) -> None:
    rank(zoo, data, cache_dir=tmp_path / "cache", strategy="racing", tolerance=0.0)
    assert not any(b"_child.py" in path.read_bytes() for path in own_processes())
    assert list((tmp_path / "cache" / "unfinished").iterdir()) == []


def own_processes() -> list[Path]:
    """Return the command lines of the processes that this one has started, where the system tells."""
    found = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    return [Path("/proc") / pid / "cmdline" for part in found for pid in part]
