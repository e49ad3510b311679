"""`neuralrank index`, `search`, `show`, `catalogue …` and `rank` by condition, over real files of a tiny repository."""

import csv
import io
import json
import re

import pytest
from tiny_zoo import CARD, convolution, random_filters, save

import neuralrank
from neuralrank import rank


@pytest.fixture
def repository(own_models):
    """The three models and four more: cards with words and labels, a copy, and a pickle that is listed only."""
    bird = {**CARD, "description": "Tells sparrows from finches in garden photographs.", "tags": ["birds", "garden"]}
    save(convolution(random_filters(3, seed=5)), own_models / "sparrow_net.onnx", {**bird, "license": "MIT"})
    save(convolution(random_filters(3, seed=5)), own_models / "sparrow_net-fp16.onnx", {**bird, "license": "MIT"})
    save(
        convolution(random_filters(4, seed=6)),
        own_models / "colours.onnx",
        {**CARD, "class_names": ["Amber", "teals", "stripes", "other"], "licence": "apache-2.0"},
    )
    (own_models / "old.pkl").write_bytes(b"\x80\x04N.")
    return own_models


@pytest.fixture
def indexed(run, repository):
    done = run("index", repository)
    assert done.code == 0
    return repository


def found(outcome):
    return [model["name"] for model in json.loads(outcome.out)["models"]]


# --- index -------------------------------------------------------------------------------------------------------


def test_a_second_index_reads_nothing_again(run, repository):
    first, second = run("index", repository), run("index")
    assert re.search(r"7 new, 0 changed, 0 unchanged", first.out)
    assert re.search(r"0 new, 0 changed, 7 unchanged", second.out)


def test_a_removed_model_is_no_longer_found_but_still_shown(run, indexed):
    (indexed / "colours.onnx").unlink()
    assert "1 removed" in run("index").out
    assert "colours.onnx" not in found(run("search", "--format", "json"))
    assert re.search(r"^removed +20", run("show", "colours.onnx").out, flags=re.MULTILINE)


def test_index_without_anything_to_list_says_what_to_name(run):
    outcome = run("index")
    assert outcome.code == 2
    assert "Name a folder, or a source such as 'hf:timm/*'." in outcome.err


def test_index_goes_on_after_a_repository_that_is_gone(run, indexed, models, tmp_path):
    moved = indexed.rename(tmp_path / "elsewhere")
    assert run("index", models).code == 0
    outcome = run("index")
    assert outcome.code == 1
    assert "which does not exist" in outcome.err
    assert "3 unchanged" in outcome.out
    assert moved.exists()


# --- search ------------------------------------------------------------------------------------------------------


def test_words_find_a_model_by_its_card_and_mark_the_hit(run, indexed):
    outcome = run("search", "finches", "--format", "json")
    (model,) = json.loads(outcome.out)["models"]
    assert model["name"] in ("sparrow_net.onnx", "sparrow_net-fp16.onnx")
    assert [model["snippet"][start:end] for start, end in model["marks"]] == ["finches"]
    assert model["n_copies"] == 1


def test_copies_shows_each(run, indexed):
    assert sorted(found(run("search", "finches", "--copies", "--format", "json"))) == [
        "sparrow_net-fp16.onnx", "sparrow_net.onnx",
    ]  # fmt: skip


def test_a_misspelt_word_is_corrected_and_said(run, indexed):
    outcome = run("search", "sparow")
    assert "No model has 'sparow': looked for 'sparrow'." in outcome.out
    assert "sparrow_net" in outcome.out


def test_a_condition_narrows_and_counts_what_it_does_not_know(run, indexed):
    outcome = run("search", "--where", "license = 'MIT'", "--format", "json")
    content = json.loads(outcome.out)
    assert {model["license"] for model in content["models"]} == {"MIT"}
    assert content["n_unknown"] == 3  # random.onnx and plain.onnx have no licence, nor has the pickle
    kept = json.loads(run("search", "--where", "license = 'MIT'", "--unknown", "keep", "--format", "json").out)
    assert kept["n_matches"] == content["n_matches"] + 3


def test_labels_find_by_plural_and_say_what_covers_what(run, indexed):
    outcome = run("search", "--labels", "amber,teal,zebra", "--format", "json")
    (model,) = json.loads(outcome.out)["models"]
    assert model["name"] == "colours.onnx"
    assert model["coverage"] == pytest.approx(2 / 3)
    assert model["covered"]["teal"].startswith("teals")
    assert model["covered"]["zebra"] is None


def test_like_finds_the_nearest_relative_first(run, indexed):
    names = found(run("search", "--like", "sparrow_net.onnx", "--copies", "--format", "json"))
    assert names[0] == "sparrow_net-fp16.onnx"
    assert "sparrow_net.onnx" not in names


def test_sort_orders_by_a_field_in_both_directions(run, indexed):
    sizes = [
        [model["size_bytes"] for model in json.loads(run("search", "--sort", name, "--format", "json").out)["models"]]
        for name in ("size_bytes", "-size_bytes")
    ]
    assert sizes[0] == sorted(sizes[0])
    assert sizes[1] == sorted(sizes[0], reverse=True)


def test_csv_and_markdown_have_one_row_per_model(run, indexed):
    rows = list(csv.DictReader(io.StringIO(run("search", "--copies", "--format", "csv").out)))
    lines = run("search", "--copies", "--format", "markdown").out.splitlines()
    assert len(rows) == 7
    assert sum(line.startswith("| ") for line in lines) == 8  # with the head
    assert {row["name"] for row in rows} >= {"crafted.onnx", "deep/random.onnx"}


def test_a_listed_only_model_says_so(run, indexed):
    outcome = run("search", "--where", "NOT loadable")
    assert "old.pkl" in outcome.out
    assert "listed only: old.pkl needs to be safetensors" in outcome.out


def test_nothing_found_is_exit_code_1(run, indexed):
    outcome = run("search", "--where", "params > 1B")
    assert outcome.code == 1
    assert outcome.out.startswith("0 of 7 models match")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(("--sort", "colour"), "--sort needs a field", id="sort"),
        pytest.param(("--like", "nobody"), "--like needs the id or name of a model", id="like"),
        pytest.param(("--unknown", "maybe"), "--unknown needs keep or drop", id="unknown"),
        pytest.param(("--format", "xml"), "--format needs one of", id="format"),
        pytest.param(("--where", "DROP TABLE entry"), "condition", id="where"),
        pytest.param(("--top", "100000"), "--top needs a number from 1 to 10,000", id="top"),
    ],
)
def test_wrong_usage_is_one_sentence(run, indexed, options, sentence):
    outcome = run("search", *options)
    assert outcome.code == 2
    assert sentence in outcome.err
    assert outcome.out == ""


def test_search_without_a_catalogue_says_how_to_make_one(run):
    outcome = run("search", "bird")
    assert outcome.code == 2
    assert "neuralrank index ./checkpoints" in outcome.err


def test_python_finds_the_same(run, indexed, own_catalogue):
    result = neuralrank.search("finches", where="params < 1M", catalogue=own_catalogue)
    assert [model.entry.name for model in result.models] == found(
        run("search", "finches", "--where", "params < 1M", "--format", "json")
    )
    assert result.n_models == 7


# --- show --------------------------------------------------------------------------------------------------------


def test_show_says_all_that_is_known(run, indexed):
    outcome = run("show", "sparrow_net.onnx")
    assert re.search(r"^license +MIT$", outcome.out, flags=re.MULTILINE)
    assert re.search(r"^card +Tells sparrows from finches in garden photographs\.$", outcome.out, flags=re.MULTILINE)


def test_show_of_a_beginning_that_fits_several_names_them(run, indexed):
    outcome = run("show", "sparrow")
    assert outcome.code == 2
    assert "Got 2 that 'sparrow' fits" in outcome.err


def test_show_as_json_has_every_field(run, indexed):
    (model,) = json.loads(run("show", "crafted.onnx", "--format", "json").out)["models"]
    assert {field.name for field in neuralrank.fields.FIELDS} <= model.keys()


# --- catalogue ---------------------------------------------------------------------------------------------------


def test_stats_count_by_repository_and_field(run, indexed):
    outcome = run("catalogue", "stats")
    assert re.search(r"models +7$", outcome.out, flags=re.MULTILINE)
    assert re.search(r"of them loadable +6$", outcome.out, flags=re.MULTILINE)
    assert re.search(r"folder:.*models +7 models, listed 20", outcome.out)


def test_an_exported_catalogue_brings_models_outcomes_and_rankings(run, indexed, photos, warm_cache, tmp_path):
    ranked = run("rank", indexed, "--data", photos, "--where", "name LIKE 'crafted%'", "--cache-dir", warm_cache)
    assert ranked.code == 0
    run("outcome", "add", "crafted.onnx", "--data", photos, "--accuracy", "0.9")
    assert run("catalogue", "export", tmp_path / "out").code == 0
    other = tmp_path / "other"
    done = run("catalogue", "import", tmp_path / "out", "--catalogue", other)
    assert "7 new models" in done.out
    assert "1 new outcome" in done.out
    assert "1 new ranking" in done.out
    assert found(run("search", "finches", "--format", "json", "--catalogue", other)) == found(
        run("search", "finches", "--format", "json")
    )
    again = run("catalogue", "import", tmp_path / "out", "--catalogue", other)
    assert "0 new models, 0 more recent than here, 7 kept as here, 0 new outcomes, 0 new rankings" in again.out


def test_repair_of_a_damaged_catalogue_keeps_outcomes(run, indexed, photos, own_catalogue):
    run("outcome", "add", "crafted.onnx", "--data", photos, "--accuracy", "0.9")
    path = own_catalogue / "catalogue.sqlite"
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 20_000)
    for log in own_catalogue.glob("catalogue.sqlite-*"):
        log.unlink()
    broken = run("search", "bird")
    assert broken.code == 2
    assert "Run `neuralrank catalogue repair`" in broken.err
    mended = run("catalogue", "repair")
    assert mended.code == 0
    assert "1 outcome" in mended.out
    assert run("index", indexed).code == 0
    assert found(run("search", "finches", "--format", "json"))


# --- rank --------------------------------------------------------------------------------------------------------


def test_one_statement_filters_finds_and_ranks(run, repository, photos):
    outcome = run(
        "rank", repository, "--data", photos, "--where", "license = 'MIT'", "--text", "sparrows OR garden",
        "--format", "json",
    )  # fmt: skip
    assert outcome.code == 0
    assert set(outcome.scores) == {"sparrow_net.onnx", "sparrow_net-fp16.onnx"}
    pool = outcome.ranking["settings"]["pool"]
    assert (pool["n_models"], pool["n_matches"]) == (7, 2)


def test_the_pool_takes_models_with_the_classes_of_the_data_and_says_why(run, repository, photos):
    outcome = run("rank", repository, "--data", photos, "--pool", "1", "--format", "json")
    assert set(outcome.scores) == {"colours.onnx"}
    (reasons,) = outcome.ranking["settings"]["pool"]["reasons"].values()
    assert reasons[0].startswith("covers 2 of 4 classes")
    assert "covers 2 of 4 classes" in outcome.err


def test_rank_without_models_takes_the_catalogue(run, indexed, photos):
    outcome = run("rank", "--data", photos, "--where", "name LIKE 'crafted%'", "--format", "json")
    assert set(outcome.scores) == {"crafted.onnx"}


def test_scores_are_those_of_a_plain_ranking(run, repository, models, photos, warm_cache):
    plain = run("rank", models, "--data", photos, "--format", "json", "--cache-dir", warm_cache)
    chosen = run("rank", repository, "--data", photos, "--pool", "50", "--format", "json")
    assert {name: chosen.scores[name] for name in plain.scores} == plain.scores


def test_prior_history_stands_before_the_ranking_and_changes_nothing(run, indexed, photos, warm_cache):
    options = ("rank", "--data", photos, "--where", "name LIKE '%random%' OR name LIKE 'crafted%'")
    first = run(*options, "--format", "json")
    run("outcome", "add", "deep/random.onnx", "--data", photos, "--accuracy", "0.99")
    run("outcome", "add", "crafted.onnx", "--data", photos, "--accuracy", "0.5")
    second = run(*options, "--prior", "history", "--format", "json")
    assert second.scores == first.scores
    expected = [row["name"] for row in second.ranking["settings"]["prior"]["rows"]]
    assert expected[0] == "deep/random.onnx"
    table = run(*options, "--prior", "history").out
    assert table.index("Prior from history") < table.index("target")


def test_a_model_that_changed_since_it_was_listed_is_listed_again(run, indexed, photos):
    save(convolution(random_filters(5, seed=9)), indexed / "crafted.onnx", CARD)
    outcome = run("rank", indexed, "--data", photos, "--where", "name LIKE 'crafted%'", "--format", "json")
    assert set(outcome.scores) == {"crafted.onnx"}


def test_a_file_that_is_gone_is_a_failure_of_fetching(run, indexed, photos):
    (indexed / "crafted.onnx").unlink()
    outcome = run(
        "rank", "--data", photos, "--where", "name LIKE 'crafted%' OR name = 'plain.onnx'", "--format", "json"
    )
    assert set(outcome.scores) == {"plain.onnx"}
    assert outcome.failures["crafted.onnx"][0] == "fetch"
    assert "Got nothing at" in outcome.failures["crafted.onnx"][1]


def test_a_condition_that_nothing_meets_ranks_nothing(run, repository, photos):
    outcome = run("rank", repository, "--data", photos, "--where", "params > 1B")
    assert outcome.code == 1
    assert "Got 7, none of which matches" in outcome.err


def test_every_ranking_is_kept(run, models, photos, warm_cache):
    outcome = run("rank", models, "--data", photos, "--format", "json", "--cache-dir", warm_cache)
    assert outcome.ranking["run_id"] in run("runs", "--format", "json").out


def test_a_ranking_that_cannot_be_kept_is_still_printed(run, models, photos, warm_cache, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = run(
        "rank", models, "--data", photos, "--format", "json", "--cache-dir", warm_cache,
        "--catalogue", tmp_path / "file",
    )  # fmt: skip
    assert outcome.code == 0
    assert len(outcome.scores) == 3
    assert "The ranking was not kept." in outcome.err


def test_python_ranks_what_it_finds(repository, photos):
    result = rank(repository, photos, where="license = 'MIT'", text="garden", also=())
    assert {model.name for model in result.models} == {"sparrow_net.onnx", "sparrow_net-fp16.onnx"}


def test_common_words_are_sorted_by_a_field_as_rare_ones_are(run, indexed, monkeypatch):
    asked = ("search", "onnx", "--sort", "-params", "--copies", "--format", "json")
    rare = found(run(*asked))
    monkeypatch.setattr("neuralrank.searching.MANY_MATCHES", 0)
    assert found(run(*asked)) == rare
    assert len(rare) > 1


@pytest.mark.parametrize("name", ["table", "markdown", "html"])
def test_a_report_says_how_many_models_were_found(run, repository, photos, warm_cache, tmp_path, name):
    options = ("--where", "name LIKE 'crafted%'", "--cache-dir", warm_cache, "--format", name, "--out", tmp_path / "r")
    assert run("rank", repository, "--data", photos, *options).code == 0
    assert "1 of 1 matching models of 7" in (tmp_path / "r").read_text()


def test_like_compares_features_where_both_were_ranked(run, indexed, photos):
    assert run("rank", indexed, "--data", photos, "--where", "name LIKE 'sparrow%' OR name = 'colours.onnx'").code == 0
    found_like = json.loads(run("search", "--like", "sparrow_net.onnx", "--copies", "--format", "json").out)["models"]
    reasons = {model["name"]: model["reasons"] for model in found_like}
    assert reasons["sparrow_net-fp16.onnx"][0] == "features alike on photos: CKA 1.00"
    assert reasons["colours.onnx"][0].startswith("features alike on photos: CKA 0.")
    assert not any(reason.startswith("features") for reason in reasons.get("plain.onnx", []))


def test_models_that_cannot_be_run_take_no_place_of_the_pool(run, own_models, photos, monkeypatch):
    (own_models / "a.pkl").write_bytes(b"\x80\x04N.")
    monkeypatch.setattr("neuralrank.shortlisting.MAX_CANDIDATES", 1)
    outcome = run("rank", own_models, "--data", photos, "--pool", "1", "--format", "json")
    assert outcome.code == 0
    assert len(outcome.scores) == 1
    assert outcome.ranking["settings"]["pool"]["n_matches"] == 4
