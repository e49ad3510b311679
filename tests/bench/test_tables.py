import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neuralrank.bench.tables import (
    SCHEMAS,
    join_scores,
    read_networks,
    read_scores,
    read_tables,
    read_truth,
    scores_from_rows,
    write_table,
)
from neuralrank.errors import DataError, OutputError


def network(model, **fields):
    return {
        "model": model, "lineage": model, "half": "development", "pretraining_data": "mnist", "n_classes": 10,
        "n_samples": 500, "label_noise": 0.0, "corruption": "none", "algorithm": "sgd", "architecture": "vgg",
        "width": 8, "depth": 1, "n_params": 1_000, "learning_rate": 0.1, "weight_decay": 0.0, "n_steps": 200,
        "augmentation": "none", "parent": None, "damage": "none", "source_accuracy": 0.9, "seed": 0,
        "build_seconds": 1.0, **fields,
    }  # fmt: skip


def measurement(model, **fields):
    return {
        "target": "kmnist", "model": model, "regime": "head", "n_train": 500, "n_used": 500, "seed": 0,
        "learning_rate": None, "accuracy": 0.75, "n_correct_a": 80, "n_test_a": 100, "n_correct_b": 70,
        "n_test_b": 100, "seconds": 0.5, **fields,
    }  # fmt: skip


def score(model, **fields):
    return {
        "target": "kmnist", "model": model, "score": "knn", "n_probe": 500, "draw": 0, "value": 0.5, "stderr": None,
        "accuracy": None, "seconds": 0.1, "extract_seconds": 0.2, **fields,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    write_table(tmp_path / "networks.parquet", "networks", [network("a"), network("b", parent="a", lineage="a")])
    write_table(tmp_path / "truth.parquet", "truth", [measurement("a"), measurement("b", n_correct_a=60)])
    write_table(tmp_path / "scores.parquet", "scores", [score("a"), score("b", value=None, seconds=None)])
    return tmp_path


def test_tables_are_read_as_they_were_written(folder):
    tables = read_tables(folder)
    assert tables.networks.model == ("a", "b")
    assert tables.networks.parent == (None, "a")
    assert tables.truth.accuracy_a.tolist() == [0.8, 0.6]
    assert tables.truth.accuracy_b.tolist() == [0.7, 0.7]
    np.testing.assert_array_equal(tables.scores.value, [0.5, np.nan])
    np.testing.assert_array_equal(tables.scores.seconds, [0.1, np.nan])
    assert [tables.scores.model.names[code] for code in tables.scores.model.codes] == ["a", "b"]


def test_nothing_but_the_tables_lies_in_the_folder(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["networks.parquet", "scores.parquet", "truth.parquet"]
    assert pq.read_schema(folder / "truth.parquet").equals(SCHEMAS["truth"])


def test_an_arrow_table_is_written_in_the_types_of_the_schema(folder):
    table = pa.Table.from_pylist([score("a"), score("b", value=None)])  # 64-bit numbers, nulls without a type
    write_table(folder / "more.parquet", "scores", table)
    assert pq.read_schema(folder / "more.parquet").equals(SCHEMAS["scores"])
    with pytest.raises(DataError, match="The table scores needs the column 'draw'"):
        write_table(folder / "more.parquet", "scores", table.drop_columns(["draw"]))


def test_scores_of_several_tables_are_joined(folder):
    write_table(folder / "mine.parquet", "scores", [score("b", target="mnist", score="mine", value=0.7)])
    rows = scores_from_rows([score("a", score="another")])
    joined = join_scores(read_tables(folder, folder / "mine.parquet").scores, rows)
    assert [joined.score.names[code] for code in joined.score.codes] == ["knn", "knn", "mine", "another"]
    assert [joined.target.names[code] for code in joined.target.codes] == ["kmnist", "kmnist", "mnist", "kmnist"]
    assert joined.value.tolist()[2:] == [0.7, 0.5]


def test_how_a_published_network_was_trained_need_not_be_known(folder):
    known = ("model", "lineage", "half", "pretraining_data", "algorithm", "architecture", "n_params", "damage")
    published = {name: value for name, value in network("a", algorithm="published").items() if name in known}
    write_table(folder / "networks.parquet", "networks", [published, network("b")])
    found = read_tables(folder).networks
    assert (found.algorithm, found.parent) == (("published", "sgd"), (None, None))
    np.testing.assert_array_equal(found.source_accuracy, [np.nan, 0.9])
    del published["n_params"]
    with pytest.raises(DataError, match="needs the column 'n_params'"):
        write_table(folder / "networks.parquet", "networks", [published])


def test_a_table_that_is_not_there_says_what_makes_it(tmp_path):
    with pytest.raises(DataError, match=r"Got no such file\. Make it with: neuralrank bench build$"):
        read_tables(tmp_path)


def test_a_damaged_file_is_told(folder):
    (folder / "truth.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"truth.parquet' needs to be a Parquet file\. Got: "):
        read_truth(folder / "truth.parquet")


def test_a_lacking_column_is_told(folder):
    pq.write_table(pq.read_table(folder / "truth.parquet").drop_columns(["seed"]), folder / "truth.parquet")
    with pytest.raises(DataError, match=r"needs the column 'seed'\. Got \['target', "):
        read_truth(folder / "truth.parquet")


def test_a_lacking_value_is_told(folder):
    rows = pq.read_table(folder / "scores.parquet").to_pylist()
    pq.write_table(
        pa.Table.from_pylist([{**row, "draw": None if row["model"] == "b" else 0} for row in rows]),
        folder / "scores.parquet",
    )
    with pytest.raises(DataError, match=r"needs 'draw' in every row\. Got 1 without"):
        read_scores(folder / "scores.parquet")


def test_a_column_of_another_type_is_told(folder):
    table = pq.read_table(folder / "networks.parquet")
    place = table.schema.names.index("width")
    pq.write_table(table.set_column(place, "width", pa.array(["wide", "wide"])), folder / "networks.parquet")
    with pytest.raises(DataError, match=r"needs columns of the types .*width \(int32\)"):
        read_networks(folder / "networks.parquet")


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        pytest.param("networks", [network("a"), network("a")], "Got 1 rows too many", id="twice"),
        pytest.param("networks", [network("a", half="third")], "to be 'development' or 'confirmation'", id="half"),
        pytest.param("truth", [measurement("a", regime="probe")], "to be 'head' or 'finetune'", id="regime"),
        pytest.param("truth", [measurement("a", n_correct_b=101)], "n_correct_b between 0 and n_test_b", id="count"),
        pytest.param("scores", [score("a", value=float("inf"))], "needs finite values", id="infinite"),
    ],
)
def test_wrong_values_are_told(tmp_path, kind, rows, message):
    write_table(tmp_path / "table.parquet", kind, rows)
    with pytest.raises(DataError, match=message):
        {"networks": read_networks, "truth": read_truth, "scores": read_scores}[kind](tmp_path / "table.parquet")


def test_networks_that_are_not_there_are_told(folder):
    write_table(folder / "scores.parquet", "scores", [score("a"), score("z")])
    with pytest.raises(DataError, match=r"The table scores needs networks that are in .* Got 'z' and 0 more"):
        read_tables(folder)


def test_a_row_without_a_column_is_not_written(tmp_path):
    with pytest.raises(DataError, match="A row of the table scores needs the column 'n_probe'"):
        write_table(tmp_path / "scores.parquet", "scores", [{"target": "kmnist", "model": "a", "score": "knn"}])
    with pytest.raises(DataError, match="needs columns of the types"):
        write_table(tmp_path / "scores.parquet", "scores", [score("a", value="high")])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="The table scores could not be written"):
        write_table(tmp_path / "file" / "scores.parquet", "scores", [score("a")])
