"""Labels of several values per sample: multi-label data sets, and regression with several targets."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from neuralrank.errors import DataError
from neuralrank.readers._open import open_target
from neuralrank.types import Target, Task

FEATURES = np.arange(12, dtype=np.float64).reshape(4, 3)
TABLE = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 0]])
TAGS = [["rain", "dark"], ["dark"], [], ["fog", "dark"]]
ENCODED_TAGS = [[1, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]]  # dark, fog, rain


def read(labels: Any, task: Task | None = None) -> Target:
    return open_target((FEATURES, labels), task=task)


def refused(labels: Any, task: Task | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(labels, task)
    return str(caught.value)


# --- tables of 0 and 1 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int64, np.uint8, bool, np.float32], ids=lambda kind: kind.__name__)
def test_rows_of_zero_and_one_are_multi_label(kind: Any) -> None:
    target = read(TABLE.astype(kind))
    assert (target.task, target.class_names) == ("multilabel", ("0", "1", "2"))
    np.testing.assert_array_equal(target.labels, TABLE)
    assert target.labels.dtype == np.int64
    assert target.notes == (
        "The task is multilabel, by the rows of 0 and 1 in the labels; --task overrides.",
        "1 sample has none of the labels.",
    )


def test_a_table_becomes_a_regression_on_request() -> None:
    target = read(TABLE, "regression")
    assert (target.task, target.class_names, target.labels.dtype, target.notes) == ("regression", (), np.float64, ())
    np.testing.assert_array_equal(target.labels, TABLE)


def test_one_column_is_single_values_unless_the_task_says_otherwise() -> None:
    column = np.array([[1], [0], [1], [0]])
    assert read(column).labels.tolist() == [1, 0, 1, 0]
    assert read(column, "multilabel").labels.tolist() == column.tolist()


def test_one_hot_rows_are_multi_label_with_a_hint() -> None:
    target = read(np.eye(4))
    assert target.task == "multilabel"
    assert target.notes[-1] == (
        "Every sample has exactly one label. If the labels exclude each other, give single values instead of lists or "
        "rows: they make a classification."
    )
    assert refused(np.eye(4), "classification") == (
        "A classification needs one label per sample. Got rows of 4 values in the labels. Use --task multilabel, or "
        "turn one-hot rows into class numbers with argmax."
    )


def test_other_numbers_need_a_task() -> None:
    assert refused(5 * TABLE) == (
        "Rows of numbers need 0 and 1 for labels, or fractions for a regression. Got 5 in row 0 of the labels. "
        "Use --task regression if the numbers are to be predicted, or correct them."
    )
    assert refused(TABLE * 0.5, "multilabel") == (
        "Rows of numbers need 0 or 1 for every label. Got 0.5 in row 0 of the labels. "
        "Use --task regression if the numbers are to be predicted, or correct them."
    )
    assert read(5 * TABLE, "regression").task == "regression"


def test_labels_that_no_sample_and_that_every_sample_has_keep_their_columns() -> None:
    table = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [1, 0, 1]])
    assert read(table).labels.tolist() == table.tolist()


def test_no_label_at_all() -> None:
    expected = (
        "A target needs labelled samples. Got 4 samples and no label in the labels. "
        "Name another column with --label-column, or add labels."
    )
    assert refused(0 * TABLE) == refused([[], [], [], []]) == refused([";", ";", ";", ";"], "multilabel") == expected
    assert refused([None, "", None, None], "multilabel") == expected


def test_labels_of_three_axes() -> None:
    assert refused(np.zeros((4, 2, 2))) == (
        "Labels need one value, or one row of values, per sample. Got an array of shape (4, 2, 2) in the labels. "
        "Reshape it."
    )


# --- regression with several targets -----------------------------------------------------------------------------


@pytest.mark.parametrize("as_lists", [False, True], ids=["array", "lists"])
def test_rows_of_fractions_are_a_regression(as_lists: bool) -> None:
    table = np.array([[0.5, 1.0], [2.0, 3.0], [4.0, 0.0], [6.0, 1.0]])
    target = read(table.tolist() if as_lists else table)
    assert (target.task, target.class_names) == ("regression", ())
    np.testing.assert_array_equal(target.labels, table)
    assert target.notes == ("The task is regression, by the rows of fractions in the labels; --task overrides.",)


def test_targets_that_are_not_finite() -> None:
    table = FEATURES + 0.5
    table[2, 1] = np.nan
    assert (
        refused(table)
        == refused(table.tolist())
        == (
            "Labels need finite numbers. Got 1 row with NaN or infinity in the labels, the first is row 2. "
            "Remove or correct it."
        )
    )


def test_targets_that_are_all_constant() -> None:
    assert refused(np.full((4, 2), 0.5)) == (
        "A regression needs labels that differ. Got the same 2 values in every row of the labels. "
        "Name another column with --label-column."
    )


@pytest.mark.parametrize("rows", [[[0.5, 1], [2, 3], [4], [5, 6]], [[0, 1, 1], [], [1, 0, 0], [0]]], ids=str)
def test_ragged_rows_of_numbers(rows: Any) -> None:
    low, high = min(map(len, rows)), max(map(len, rows))
    assert refused(rows) == (
        f"Rows of numbers need one length. Got rows of {low} and of {high} in the labels. "
        "Give every sample the same columns, or its labels as a list of texts."
    )


# --- lists of labels ---------------------------------------------------------------------------------------------


def test_lists_of_texts_are_labels_by_name() -> None:
    for tags in (TAGS, [set(row) for row in TAGS], [(*row, *row) for row in TAGS], [np.array(row) for row in TAGS]):
        target = read(tags)
        assert (target.task, target.class_names) == ("multilabel", ("dark", "fog", "rain"))
        assert target.labels.tolist() == ENCODED_TAGS
    assert target.notes == (
        "The task is multilabel, by the lists of texts in the labels.",
        "1 sample has none of the labels.",
    )


def test_a_missing_list_is_left_out_and_an_empty_one_is_kept() -> None:
    target = read([["a"], None, [], ["a", "b"]])
    assert target.labels.tolist() == [[1, 0], [0, 0], [1, 1]]
    assert [row.tolist() for row in target.samples.read(np.arange(3))] == FEATURES[[0, 2, 3]].tolist()
    assert "1 sample without a label in the labels: left out." in target.notes


def test_lists_of_class_indices() -> None:
    target = read([[3, 1], [1], [], [7, 3]])
    assert target.class_names == ("1", "3", "7")
    assert target.labels.tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert target.notes[0] == "The task is multilabel, by the lists of class indices in the labels."


@pytest.mark.parametrize("task", [None, "multilabel"], ids=str)
@pytest.mark.parametrize(
    ("lists", "encoded", "why"),
    [
        (TABLE.tolist(), TABLE.tolist(), None),
        ([[0, 1], [1, 0], [0, 1], [1, 1]], [[0, 1], [1, 0], [0, 1], [1, 1]], None),
        ([[0, 1], [1], [], [0]], [[1, 1], [0, 1], [0, 0], [1, 0]], "their lengths differ"),
        ([[0], [1], [1], [0]], [[1, 0], [0, 1], [0, 1], [1, 0]], "each holds one"),
    ],
    ids=["three", "two", "ragged", "one"],
)
def test_zero_and_one_in_lists_are_indicators_only_at_one_length_above_one(
    lists: Any, encoded: Any, why: str | None, task: Task | None
) -> None:
    target = read(lists, task)
    assert target.labels.tolist() == encoded
    assert target.notes[0] == (
        f"The lists in the labels were read as class indices, not as rows of 0 and 1: {why}."
        if why
        else f"The lists in the labels have one length, {len(lists[0])}, and hold only 0 and 1: each entry says "
        "whether the sample has a label, and none is a class index."
    )


@pytest.mark.parametrize("as_lists", [False, True], ids=["array", "lists"])
def test_names_beside_a_table_name_its_columns(as_lists: bool) -> None:
    labels = TABLE.tolist() if as_lists else TABLE
    target = open_target({"X": FEATURES, "y": labels, "target_names": np.array(["a", "b", "c"])})
    assert target.class_names == ("a", "b", "c")
    assert target.labels.tolist() == TABLE.tolist()
    with pytest.raises(DataError) as caught:
        open_target({"X": FEATURES, "y": TABLE, "target_names": ["a", "b"]})
    assert str(caught.value) == (
        "Rows of 0 and 1 need one column per class name. Got 3 columns and 2 names in 'y' of 'arrays'. "
        "Correct the rows or the names."
    )


def test_lists_that_do_not_fit() -> None:
    assert refused([["a"], "b", ["a"], ["c"]]) == (
        "Labels need to be all lists or all single values. Got the single value 'b' in row 1 of the labels, "
        "beside lists. Write them all alike."
    )
    assert refused([["a"], [1], [], []]) == (
        "Lists of labels need to be all texts or all numbers. Got a number in row 1 of the labels. "
        "Write them all alike, or name another column with --label-column."
    )
    for odd, got in (([[1]], "a list"), ([{}], "a dict"), ([1j], "a complex")):
        assert f"Got {got} in row 2" in refused([[1], [2], odd, []])
    for missing in (None, ""):
        assert refused([["a"], ["b", missing], [], []]) == (
            f"Lists of labels need a value in every entry. Got {missing!r} in row 1 of the labels. "
            "Remove the entry; an empty list is a sample without labels."
        )


def test_lists_asked_to_be_another_task() -> None:
    assert refused(TAGS, "classification") == (
        "A classification needs one label per sample. Got lists in the labels. "
        "Use --task multilabel, or keep one label of each sample."
    )
    assert refused(TAGS, "regression") == (
        "A regression needs numbers as labels. Got 'rain' in the labels. "
        "Name another column with --label-column, or use --task multilabel."
    )
    assert read([[1, 2], [3, 4], [1, 1], [2, 2]], "regression").labels.tolist() == [[1, 2], [3, 4], [1, 1], [2, 2]]


def test_more_than_ten_thousand_labels() -> None:
    expected = (
        "A multi-label target needs at most 10,000 labels. Got 10,001 in the labels. "
        "Name another column with --label-column, or keep the frequent labels."
    )
    assert refused([list(range(10_001)), [1], [2], []]) == expected
    assert refused(np.eye(4, 10_001, dtype=np.uint8)) == expected


def test_single_values_asked_to_be_multi_label() -> None:
    assert (
        refused([1, 2, 1, 2], "multilabel")
        == refused(np.array([1, 2, 1, 2]), "multilabel")
        == (
            "Multi-label samples need a list of labels, or a row of 0 and 1, each. Got single values such as 1 in "
            "the labels. Use --task classification, or name another column with --label-column."
        )
    )


def test_the_fingerprint_follows_the_labels() -> None:
    other = TABLE.copy()
    other[3, 2] = 1
    prints = [read(labels).fingerprint for labels in (TABLE, TABLE.tolist(), other, TAGS)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    assert read(TABLE + 0.5).fingerprint != read(TABLE + 0.25).fingerprint


# --- tables on disk ----------------------------------------------------------------------------------------------


def write_lists(path: Path, lists: list[Any]) -> Path:
    rows = [{"text": f"text {number}", "label": labels} for number, labels in enumerate(lists)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_list_columns_of_files(tmp_path: Path, suffix: str) -> None:
    target = open_target(write_lists(tmp_path / f"a{suffix}", [*TAGS, None]))
    assert (target.task, target.class_names) == ("multilabel", ("dark", "fog", "rain"))
    assert target.labels.tolist() == ENCODED_TAGS
    assert list(target.samples.read(np.array([2]))) == ["text 2"]
    where = f"column 'label' of {str(tmp_path / f'a{suffix}')!r}"
    assert f"1 sample without a label in {where}: left out." in target.notes
    first = target.fingerprint
    assert open_target(write_lists(tmp_path / f"a{suffix}", [*TAGS[:3], ["fog"], None])).fingerprint != first


def test_fixed_lists_of_floats_in_parquet(tmp_path: Path) -> None:
    column = pa.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": column}), tmp_path / "a.parquet")
    assert open_target(tmp_path / "a.parquet").labels.tolist() == [[0, 1], [1, 1], [0, 0]]
    assert open_target(tmp_path / "a.parquet", task="regression").labels.dtype == np.float64


@pytest.mark.parametrize("wrap", ["Sequence", "List", None], ids=str)
@pytest.mark.parametrize("lists", [[[0, 2], [], [2], [0]], [[0, 1], [1, 0], [0, 1], [1, 1]]], ids=["some", "binary"])
def test_hub_lists_of_class_labels_are_indices_of_their_names(tmp_path: Path, wrap: str | None, lists: Any) -> None:
    label = {"names": ["x", "y", "z"], "_type": "ClassLabel"}
    features = {"tags": {"feature": label, "_type": wrap} if wrap else [label]}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"text": ["a b", "c", "d", "e"], "number": [1, 2, 1, 2], "tags": lists})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    target = open_target(tmp_path / "a.parquet")
    assert target.class_names == ("x", "y", "z")
    assert target.labels.tolist() == [[int(index in row) for index in range(3)] for row in lists]
    assert target.notes[1] == "Labels come from column 'tags' (it has class names); --label-column names another."
    where = f"column 'tags' of {str(tmp_path / 'a.parquet')!r}"
    note = f"The lists in {where} were read as class indices, not as rows of 0 and 1: they have class names."
    assert (note in target.notes) == (lists[1] == [1, 0])


def test_hub_indices_beyond_the_names(tmp_path: Path) -> None:
    features = {"label": {"feature": {"names": ["x", "y"], "_type": "ClassLabel"}, "_type": "Sequence"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    table = pa.table({"text": ["a", "b"], "label": [[0, 5], [1]]}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match=r"^Labels need to be below the 2 class names stated for them\. Got 5 in column"
    ):
        open_target(tmp_path / "a.parquet")


def test_json_lists_of_mixed_types_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": [1]}\n{"text": "y", "label": ["b"]}\n')
    with pytest.raises(DataError, match=r"Got lists of int and lists of str in column 'label' of 'a\.jsonl'\."):
        open_target(tmp_path / "a.jsonl")


@pytest.mark.parametrize("mark", [";", "|"])
def test_csv_texts_are_split_only_on_request(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\none,rain{mark} dark\ntwo,dark\nthree,{mark}\nfour,fog{mark}dark\nfive,\n")
    target = open_target(path, task="multilabel")
    assert target.class_names == ("dark", "fog", "rain")
    assert target.labels.tolist() == ENCODED_TAGS
    where = f"column 'label' of {str(path)!r}"
    assert target.notes[2:4] == (
        f"Texts in {where} were split at {mark!r} into labels.",
        f"1 sample without a label in {where}: left out.",
    )
    assert open_target(path).task == "classification"


def test_csv_texts_without_a_separator(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\none,cat dog\ntwo,dog\n")
    with pytest.raises(DataError) as caught:
        open_target(path, task="multilabel")
    assert str(caught.value) == (
        "Multi-label texts need ';' or '|' between their labels. Got 'cat dog' and no separator in column 'label' of "
        f"{str(path)!r}. Separate them so, or leave --task out."
    )


def test_npz_tables(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=FEATURES, y=TABLE, class_names=np.array(["a", "b", "c"]))
    target = open_target(tmp_path / "a.npz")
    assert (target.task, target.class_names) == ("multilabel", ("a", "b", "c"))
    np.savez(tmp_path / "b.npz", X=FEATURES, y=FEATURES + 0.5)
    assert open_target(tmp_path / "b.npz").labels.shape == (4, 3)


def test_lists_in_the_metadata_of_an_image_folder(tmp_path: Path) -> None:
    for number in range(4):
        buffer = io.BytesIO()
        Image.new("L", (4, 4), number).save(buffer, format="PNG")
        (tmp_path / f"{number}.png").write_bytes(buffer.getvalue())
    lines = [json.dumps({"file_name": f"{n}.png", "label": tags}) for n, tags in enumerate(TAGS)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    target = open_target(tmp_path)
    assert (target.modality, target.task) == ("image", "multilabel")
    assert target.labels.tolist() == ENCODED_TAGS


# --- Python objects ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tags", [TAGS, [set(row) for row in TAGS]], ids=["lists", "sets"])
def test_list_columns_of_a_frame(tags: Any) -> None:
    pandas = pytest.importorskip("pandas")
    target = open_target(pandas.DataFrame({"text": list("abcd"), "label": tags}))
    assert (target.task, target.labels.tolist()) == ("multilabel", ENCODED_TAGS)


def test_array_columns_of_a_frame() -> None:
    pandas = pytest.importorskip("pandas")
    target = open_target(pandas.DataFrame({"text": list("abcd"), "label": list(TABLE)}))
    assert (target.task, target.labels.tolist()) == ("multilabel", TABLE.tolist())


def test_sequences_of_a_hugging_face_data_set() -> None:
    datasets = pytest.importorskip("datasets")
    label = datasets.Sequence(datasets.ClassLabel(names=["x", "y", "z"]))
    features = datasets.Features({"text": datasets.Value("string"), "tags": label})
    data = datasets.Dataset.from_dict({"text": list("abcd"), "tags": [[0, 2], [], [2], [0]]}, features=features)
    target = open_target(data)
    assert (target.task, target.class_names) == ("multilabel", ("x", "y", "z"))
    assert target.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1], [1, 0, 0]]


class Pairs:
    """What torch calls a map-style data set, without torch."""

    def __init__(self, labels: Any, **attributes: Any) -> None:
        self.item_labels = labels
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.item_labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return FEATURES[index], self.item_labels[index]


@pytest.mark.parametrize("targets", [TABLE, TABLE.tolist(), None], ids=["array", "lists", "items"])
def test_a_data_set_with_a_row_per_item(targets: Any) -> None:
    labels = TABLE if targets is None else targets
    listed = {} if targets is None else {"targets": targets}
    target = open_target(Pairs(labels, classes=["a", "b", "c"], **listed))
    assert (target.task, target.class_names) == ("multilabel", ("a", "b", "c"))
    assert target.labels.tolist() == TABLE.tolist()
    assert any("read once for its label" in note for note in target.notes) == (targets is None)
    assert open_target(Pairs(labels, classes=["a", "b"], **listed)).class_names == ("0", "1", "2")


@pytest.mark.parametrize("labels", [[[0, 2], [1], [], [0]], [np.array(row) for row in ([0, 2], [1], [], [0])]])
def test_a_data_set_with_class_indices_per_item(labels: Any) -> None:
    labels = [row.astype(np.int64) if isinstance(row, np.ndarray) else row for row in labels]
    target = open_target(Pairs(labels, classes=["a", "b", "c"]))
    assert target.class_names == ("a", "b", "c")
    assert target.labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_as_many_class_indices_for_each_item() -> None:
    target = open_target(Pairs(np.array([[0, 2], [1, 2], [0, 1], [2, 1]]), classes=["a", "b", "c"]))
    assert target.class_names == ("a", "b", "c")
    assert target.labels.tolist() == [[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 1, 1]]


def test_listed_rows_that_disagree_with_the_items_are_not_used() -> None:
    target = open_target(Pairs(TABLE, targets=1 - TABLE))
    assert target.labels.tolist() == TABLE.tolist()


def test_tensors() -> None:
    torch = pytest.importorskip("torch")
    features = torch.from_numpy(FEATURES)

    def of(labels: Any) -> Target:
        return open_target(torch.utils.data.TensorDataset(features, labels))

    assert of(torch.from_numpy(TABLE)).task == "multilabel"
    several = of(torch.from_numpy(FEATURES + 0.5))
    assert (several.task, several.labels.shape) == ("regression", (4, 3))
    assert of(torch.tensor([[0.5], [1.5], [0.5], [2.5]])).labels.tolist() == [0.5, 1.5, 0.5, 2.5]
    assert of(torch.tensor([[0], [1], [0], [1]])).task == "classification"
    indices = [(row, torch.tensor(tags)) for row, tags in zip(FEATURES, ([0, 2], [1, 2], [0, 1], [1]), strict=True)]
    assert open_target(indices).labels.tolist() == [[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 1, 0]]
    assert open_target((features, torch.from_numpy(TABLE))).labels.tolist() == TABLE.tolist()
