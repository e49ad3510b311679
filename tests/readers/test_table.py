"""Tables on disk: Parquet as on the Hub, plain Parquet, CSV, TSV and JSON lines."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from neuralrank.errors import DataError, UsageError
from neuralrank.readers import _rows
from neuralrank.readers._open import open_target

MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def hub_metadata(**features: Any) -> dict[bytes, bytes]:
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def write_hub_images(path: Path, n: int = 10, *, start: int = 0, row_group_size: int = 3) -> None:
    images = [{"bytes": png(start + row), "path": None} for row in range(n)]
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    table = pa.table(
        {"image": pa.array(images, MEDIA), "label": pa.array([row % 2 for row in range(n)])}
    ).replace_schema_metadata(hub_metadata(**features))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)


def write_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


REVIEWS = ("text,label", "good film,pos", "bad film,neg", "very good,pos", "very bad,neg")


def test_hub_images_are_read_with_their_class_names(tmp_path: Path) -> None:
    write_hub_images(tmp_path / "images.parquet")
    target = open_target(tmp_path / "images.parquet")
    assert (target.modality, target.task) == ("image", "classification")
    assert target.class_names == ("cat", "dog")
    assert target.labels.tolist() == [0, 1] * 5
    assert target.samples.name(7) == "row 7"
    assert target.notes == (
        "Samples come from column 'image' (it holds encoded files); --input-column names another.",
        "Labels come from column 'label' (by its name); --label-column names another.",
    )


@pytest.mark.parametrize("indices", [[0], [9], [1, 4, 5, 9], [2, 3], list(range(10)), []], ids=str)
def test_rows_are_read_across_row_groups_in_order(tmp_path: Path, indices: list[int]) -> None:
    write_hub_images(tmp_path / "images.parquet")
    target = open_target(tmp_path / "images.parquet")
    assert list(target.samples.read(np.array(indices, dtype=np.int64))) == [png(row) for row in indices]


def test_small_batches_give_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rows, "_BATCH_ROWS", 2)
    write_hub_images(tmp_path / "images.parquet", 20, row_group_size=7)
    target = open_target(tmp_path / "images.parquet")
    rows = [0, 5, 6, 7, 12, 13, 19]
    assert list(target.samples.read(np.array(rows))) == [png(row) for row in rows]


def test_shards_of_the_train_split_are_joined(tmp_path: Path) -> None:
    write_hub_images(tmp_path / "data/train-00000-of-00002.parquet", 4)
    write_hub_images(tmp_path / "data/train-00001-of-00002.parquet", 6, start=100)
    write_hub_images(tmp_path / "data/test-00000-of-00001.parquet", 2, start=200)
    target = open_target(tmp_path)
    assert len(target.samples) == 10
    assert list(target.samples.read(np.array([3, 4, 9]))) == [png(3), png(100), png(105)]
    assert target.samples.name(4) == "data/train-00001-of-00002.parquet row 0"
    assert target.notes[0] == "Split 'train' was read, of 'test', 'train'; --split names another, or 'all'."
    assert len(open_target(tmp_path, split="test").samples) == 2
    assert len(open_target(tmp_path, split="all").samples) == 12


def test_splits_as_folders_and_own_split_names(tmp_path: Path) -> None:
    write_hub_images(tmp_path / "default/train/0000.parquet", 4)
    write_hub_images(tmp_path / "default/test/0000.parquet", 2)
    assert len(open_target(tmp_path).samples) == 4
    write_hub_images(tmp_path / "own/gold-00000-of-00001.parquet", 8)
    assert len(open_target(tmp_path / "own", split="gold").samples) == 8


def test_a_single_file_is_read_whole_whatever_its_name(tmp_path: Path) -> None:
    write_hub_images(tmp_path / "test.parquet", 4)
    write_hub_images(tmp_path / "train.parquet", 6)
    assert len(open_target(tmp_path / "test.parquet").samples) == 4
    with pytest.raises(UsageError) as caught:
        open_target(tmp_path / "test.parquet", split="train")
    assert str(caught.value) == (
        f"--split needs a split of {str(tmp_path / 'test.parquet')!r}. Got 'train'. Available: 'test', 'all'."
    )


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    write_hub_images(tmp_path / "a.parquet")
    shutil.copy(tmp_path / "a.parquet", tmp_path / "b.parquet")
    write_hub_images(tmp_path / "c.parquet", start=1)
    prints = [open_target(tmp_path / name).fingerprint for name in ("a.parquet", "b.parquet", "c.parquet")]
    assert prints[0] == prints[1] != prints[2]


def test_a_changed_label_changes_the_fingerprint(tmp_path: Path) -> None:
    first = open_target(write_csv(tmp_path / "a.csv", *REVIEWS)).fingerprint
    other = open_target(write_csv(tmp_path / "b.csv", *REVIEWS[:-1], "very bad,pos")).fingerprint
    assert first != other


def test_audio_structs_are_handed_over_encoded(tmp_path: Path) -> None:
    wav = b"RIFF\x24\0\0\0WAVEfmt "
    sounds = pa.array([{"bytes": wav, "path": "0.wav"}] * 4, MEDIA)
    pq.write_table(pa.table({"sound": sounds, "label": ["a", "b", "a", "b"]}), tmp_path / "a.parquet")
    target = open_target(tmp_path / "a.parquet")
    assert target.modality == "audio"
    assert list(target.samples.read(np.array([3]))) == [wav]


def test_plain_binary_columns_of_images_are_recognised(tmp_path: Path) -> None:
    pq.write_table(pa.table({"jpg": [png(0), None, png(2), png(3)], "cls": [5, 7, 5, 7]}), tmp_path / "a.parquet")
    target = open_target(tmp_path / "a.parquet")
    assert target.modality == "image"
    assert target.class_names == ("5", "7")
    assert list(target.samples.read(np.array([0, 1]))) == [png(0), b""]
    assert target.notes[1:] == (
        "Labels come from column 'cls' (it has few distinct values); --label-column names another.",
        "Labels run from 5 to 7 with 2 distinct values; they keep these values as their names.",
    )


def test_image_structs_without_bytes_point_to_files(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(0))
    images = pa.array([{"bytes": None, "path": "0.png"}, {"bytes": None, "path": "1.png"}] * 2, MEDIA)
    pq.write_table(pa.table({"image": images, "label": ["a", "b", "a", "b"]}), tmp_path / "a.parquet")
    target = open_target(tmp_path / "a.parquet")
    assert list(target.samples.read(np.array([0, 1]))) == [tmp_path / "0.png", tmp_path / "1.png"]
    (tmp_path / "0.png").write_bytes(png(1))
    assert open_target(tmp_path / "a.parquet").fingerprint != target.fingerprint


def test_class_label_features_are_found_under_any_name(tmp_path: Path) -> None:
    features = {"kind": {"_type": "ClassLabel", "names": ["x", "y", "z"]}}
    table = pa.table({"text": ["a b c", "d", "e", "f"], "number": [1, 2, 1, 2], "kind": [0, 2, 0, -1]})
    pq.write_table(table.replace_schema_metadata(hub_metadata(**features)), tmp_path / "a.parquet")
    target = open_target(tmp_path / "a.parquet")
    assert target.class_names == ("x", "z")
    assert target.labels.tolist() == [0, 1, 0]
    assert target.notes[1:] == (
        "Labels come from column 'kind' (it has class names); --label-column names another.",
        f"1 sample without a label in column 'kind' of {str(tmp_path / 'a.parquet')!r}: left out.",
        "1 of 3 stated classes has no sample: 'y'.",
        "Class 'z' has 1 sample; a class needs at least 2 to be held out, so the probe leaves it out.",
    )


def test_labels_beyond_the_stated_names_are_an_error(tmp_path: Path) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["x", "y"]}}
    table = pa.table({"text": ["a", "b", "c"], "label": [0, 1, 5]}).replace_schema_metadata(hub_metadata(**features))
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError) as caught:
        open_target(tmp_path / "a.parquet")
    assert str(caught.value) == (
        "Labels need to be below the 2 class names stated for them. Got 5 in column 'label' of "
        f"{str(tmp_path / 'a.parquet')!r}. Correct the labels or the names."
    )


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_text_table_gives_the_same_target(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"reviews{suffix}"
    rows = [line.split(",") for line in REVIEWS]
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(rows[0], row, strict=True))) + "\n" for row in rows[1:]))
    elif suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True))), path)
    else:
        write_csv(path, *(("\t" if suffix == ".tsv" else ",").join(row) for row in rows))
    target = open_target(path)
    assert target.modality == "text"
    assert target.class_names == ("neg", "pos")
    assert target.labels.tolist() == [1, 0, 1, 0]
    assert list(target.samples.read(np.array([1, 2]))) == ["bad film", "very good"]


def test_the_longest_text_is_the_input_and_options_override(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "title,body,kind,label", "t1,long body one,x,1", "t2,long body two,y,2",
                     "t3,long body three,x,1", "t4,long body four,y,2")  # fmt: skip
    assert next(open_target(path).samples.read(np.array([0]))) == "long body one"
    assert open_target(path).notes[0] == (
        "Samples come from column 'body' (the longest text); --input-column names another."
    )
    target = open_target(path, input_column="title", label_column="kind")
    assert next(target.samples.read(np.array([0]))) == "t1"
    assert target.class_names == ("x", "y")
    assert target.notes == ()


def test_image_paths_start_at_the_folder_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.png").write_bytes(png(number))
    path = write_csv(tmp_path / "a.csv", "file,caption,label", "images/0.png,a long caption,a",
                     f"{tmp_path}/images/1.png,another caption,b", "images/gone.png,no caption,a")  # fmt: skip
    target = open_target(path)
    assert target.modality == "image"
    assert list(target.samples.read(np.arange(3))) == [tmp_path / "images" / f"{n}.png" for n in (0, 1, "gone")]
    assert target.samples.name(0) == "images/0.png"
    assert (
        target.notes[0] == "Samples come from column 'file' (it holds paths of images); --input-column names another."
    )
    (tmp_path / "images/0.png").write_bytes(png(9))
    assert open_target(path).fingerprint != target.fingerprint
    assert open_target(tmp_path, label_column="label").modality == "image"


def test_image_paths_that_lead_nowhere(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "file,label", "0.png,a", "1.png,b")
    for column in (None, "file"):
        with pytest.raises(DataError) as caught:
            open_target(path, input_column=column)
        assert str(caught.value) == (
            "Image paths need to be relative to the folder of their table, or absolute. Got '0.png' in column 'file', "
            f"and no such file in {str(tmp_path)!r}. Correct the paths or move the table."
        )


def test_an_input_column_of_numbers_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "number,label", "1,a", "2,b")
    with pytest.raises(DataError) as caught:
        open_target(path, input_column="number")
    assert str(caught.value) == (
        f"An input column needs images, audio or texts. Got int64 in column 'number' of {str(path)!r}. "
        "Name another with --input-column."
    )
    with pytest.raises(DataError) as caught:
        open_target(path)
    assert str(caught.value) == (
        f"A table needs a column of images, audio or texts. Got none in {str(path)!r}. "
        "Name it with --input-column; the columns are 'number', 'label'."
    )


def test_a_table_without_a_label_column(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,price", "good,1.5", "bad,2.5", "fine,3.5", "poor,4.5")
    with pytest.raises(DataError) as caught:
        open_target(path)
    assert str(caught.value) == (
        f"A table needs a label column. Got none that looks like it in {str(path)!r}. "
        "Name it with --label-column; the columns are 'text', 'price'."
    )


def test_several_possible_label_columns_are_not_guessed_between(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,colour,size", "one,red,1", "two,blue,2", "three,red,1", "four,blue,2")
    with pytest.raises(DataError) as caught:
        open_target(path)
    assert str(caught.value) == (
        f"A table needs a label column. Got 'colour', 'size' as possible ones in {str(path)!r}. "
        "Name it with --label-column; the columns are 'text', 'colour', 'size'."
    )


@pytest.mark.parametrize("option", ["input_column", "label_column", "group_column"])
def test_an_unknown_column_lists_the_columns(tmp_path: Path, option: str) -> None:
    path = write_csv(tmp_path / "a.csv", *REVIEWS)
    with pytest.raises(UsageError) as caught:
        open_target(path, **{option: "lable"})  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"--{option.replace('_', '-')} needs a column of {str(path)!r}. Got 'lable'. Did you mean 'label'? "
        "Available: 'text', 'label'."
    )


def test_one_column_cannot_be_both(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_target(write_csv(tmp_path / "a.csv", *REVIEWS), input_column="text", label_column="text")
    assert str(caught.value) == "--input-column and --label-column need two columns. Got 'text' for both. Name another."


def test_a_group_column_is_numbered(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,label,user", "one,a,7", "two,b,3", "three,a,7", "four,b,")
    target = open_target(path, group_column="user")
    assert target.groups is not None
    assert target.groups.tolist() == [0, 1, 0, 2]
    with pytest.raises(UsageError) as caught:
        open_target(path, group_column="user", groups=[1, 2, 3, 4])
    assert str(caught.value) == (
        "Groups need one origin. Got both --group-column 'user' and a groups argument. Leave one of them out."
    )


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,label,user", "one,a,u", "two,,u", "three,b,v", "four,a,w")
    target = open_target(path, group_column="user")
    assert target.labels.tolist() == [0, 1, 0]
    assert list(target.samples.read(np.array([0, 1, 2]))) == ["one", "three", "four"]
    assert target.samples.name(1) == "row 2"
    assert target.groups is not None
    assert target.groups.tolist() == [0, 1, 2]
    assert f"1 sample without a label in column 'label' of {str(path)!r}: left out." in target.notes


def test_a_table_without_any_label_value(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,label", "one,", "two,")
    with pytest.raises(DataError) as caught:
        open_target(path)
    assert str(caught.value) == (
        f"A target needs labelled samples. Got 2 samples and no label in column 'label' of {str(path)!r}. "
        "Name another column with --label-column, or add labels."
    )


def test_fractional_labels_make_a_regression(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,label", "one,0.5", "two,1", "three,2.5")
    target = open_target(path)
    assert target.task == "regression"
    assert target.class_names == ()
    assert target.labels.tolist() == [0.5, 1.0, 2.5]
    assert target.labels.dtype == np.float64
    assert target.notes[-1] == (
        f"Labels in column 'label' of {str(path)!r} have fractions, so the task is regression; --task overrides."
    )
    assert open_target(path, task="classification").class_names == ("0.5", "1.0", "2.5")


def test_whole_labels_can_be_a_regression_on_request(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,label", "one,1", "two,5", "three,3")
    assert open_target(path).class_names == ("1", "3", "5")
    assert open_target(path, task="regression").labels.tolist() == [1.0, 5.0, 3.0]


def test_texts_cannot_be_a_regression(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", *REVIEWS)
    with pytest.raises(DataError) as caught:
        open_target(path, task="regression")
    assert str(caught.value) == (
        f"A regression needs numbers as labels. Got 'pos' in column 'label' of {str(path)!r}. "
        "Name another column with --label-column, or use --task classification."
    )


def test_an_unknown_task(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_target(write_csv(tmp_path / "a.csv", *REVIEWS), task="clustering")  # type: ignore[arg-type]
    assert str(caught.value) == (
        "--task needs one of 'classification', 'regression', 'multilabel'. Got 'clustering'. "
        "Leave it out to have it detected."
    )


def test_one_class_only_names_the_column(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,label", "one,cat", "two,cat")
    with pytest.raises(DataError) as caught:
        open_target(path)
    assert str(caught.value) == (
        f"A ranking needs at least 2 classes. Got 1 class, 'cat', in column 'label' of {str(path)!r}. "
        "Add samples of a second class, or name another column with --label-column."
    )


def test_ten_thousand_and_one_labels(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,label", *(f"text {n},{n}" for n in range(10_001)))
    with pytest.raises(DataError) as caught:
        open_target(path)
    assert str(caught.value) == (
        "A classification needs at most 10,000 classes. Got 10,001 distinct values in column 'label' of "
        f"{str(path)!r}. Name another column with --label-column, or use --task regression."
    )
    assert open_target(path, task="regression").task == "regression"


def test_a_cut_parquet_file_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_hub_images(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(
        DataError, match=r"^A Parquet file needs to be whole\. Got 'a\.parquet': .*download it again\.$"
    ):
        open_target(path)


def test_damage_inside_a_parquet_file_is_a_data_error_when_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_hub_images(path)
    target = open_target(path)
    data = bytearray(path.read_bytes())
    data[4:60] = bytes(56)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"^A Parquet file needs to be whole\. Got 'a\.parquet'"):
        list(target.samples.read(np.arange(3)))


def test_csv_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\nschön,a\ngut,b\n".encode("latin-1"))
    with pytest.raises(DataError) as caught:
        open_target(path)
    assert str(caught.value) == "A text table needs the encoding UTF-8. Got other bytes in 'a.csv'. Save it as UTF-8."


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_csv_in_utf16(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes("text,label\ngut,a\nbad,b\n".encode(encoding))
    with pytest.raises(DataError, match=r"^A text table needs the encoding UTF-8\."):
        open_target(tmp_path / "a.csv")


def test_json_lines_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"text": "schön"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match=r"^A text table needs the encoding UTF-8\. Got other bytes in 'a\.jsonl'\."):
        open_target(tmp_path / "a.jsonl")


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    for name, text in (
        ("a.csv", "\n".join(REVIEWS)),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": "y", "label": 0}'),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert open_target(tmp_path / name, input_column="text").modality == "text"


def test_semicolons_and_quoted_line_breaks(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text;label", '"one,\ntwo; three";a', "four;b")
    assert list(open_target(path).samples.read(np.array([0, 1]))) == ["one,\ntwo; three", "four"]


def test_csv_rows_of_other_lengths(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,label", "one,a", "two,b,c")
    with pytest.raises(DataError, match=r"^A table needs a header and rows of equal length\. Got 'a\.csv': "):
        open_target(path)


def test_empty_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(DataError, match=r"^A table needs a header and rows of equal length\. Got 'a\.csv': Empty CSV"):
        open_target(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("text,label\n")
    with pytest.raises(DataError):
        open_target(tmp_path / "b.csv")


def test_a_broken_json_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": 1}\n\n{"text": \n')
    with pytest.raises(DataError) as caught:
        open_target(tmp_path / "a.jsonl")
    assert str(caught.value) == (
        "A JSON-lines file needs one JSON object per line. Got '{\"text\":' in line 3 of 'a.jsonl'. Correct that line."
    )


def test_json_columns_of_mixed_types_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": 1}\n{"text": "y", "label": "b"}\n')
    with pytest.raises(DataError) as caught:
        open_target(tmp_path / "a.jsonl")
    assert str(caught.value) == (
        "A column needs values of one type. Got int and str in column 'label' of 'a.jsonl'. Write them all alike."
    )


def test_keys_missing_from_a_json_line_are_null(tmp_path: Path) -> None:
    lines = ['{"text": "x", "label": "a"}', '{"text": "y"}', '{"label": "b", "text": "z", "more": 1}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    target = open_target(tmp_path / "a.jsonl")
    assert target.labels.tolist() == [0, 1]
    assert list(target.samples.read(np.array([1]))) == ["z"]


def test_files_of_other_columns_are_not_joined(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", "text,label", "one,a", "two,b")
    write_csv(tmp_path / "b.csv", "words,label", "one,a", "two,b")
    with pytest.raises(DataError) as caught:
        open_target(tmp_path)
    assert str(caught.value) == (
        "The files of a table need the same columns. Got 'text', 'label' in 'a.csv' and 'words', 'label' in 'b.csv'. "
        "Point --data at one file, or name one --split."
    )


def test_csv_files_of_a_split_are_joined(tmp_path: Path) -> None:
    write_csv(tmp_path / "train_1.csv", *REVIEWS)
    write_csv(tmp_path / "train_2.csv", *REVIEWS)
    write_csv(tmp_path / "test.csv", *REVIEWS)
    assert len(open_target(tmp_path).samples) == 8


def test_parquet_goes_before_csv(tmp_path: Path) -> None:
    write_hub_images(tmp_path / "a.parquet")
    write_csv(tmp_path / "a.csv", *REVIEWS)
    assert open_target(tmp_path).notes[0] == f"Read the .parquet files of {str(tmp_path)!r}, not 'a.csv'."


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", "text,label,text", "one,a,x", "two,b,y")
    with pytest.raises(DataError) as caught:
        open_target(path)
    assert str(caught.value) == (
        f"A table needs columns of different names. Got 'text', 'label', 'text' in {str(path)!r}. "
        "Rename the double ones."
    )


def test_missing_texts_read_as_empty_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"text": null, "label": 1}\n{"text": "y", "label": 0}\n{"text": "z", "label": 1}\n'
    )
    target = open_target(tmp_path / "a.jsonl")
    assert list(target.samples.read(np.array([0, 1]))) == ["", "y"]
    assert "1 text missing in column 'text': read as empty." in target.notes


def test_dictionary_and_bool_columns_are_labels(tmp_path: Path) -> None:
    for labels, names in ((pa.array(["b", "a", "b"]).dictionary_encode(), ("a", "b")),
                          (pa.array([True, False, True]), ("False", "True"))):  # fmt: skip
        pq.write_table(pa.table({"text": ["x", "y", "z"], "label": labels}), tmp_path / "a.parquet")
        target = open_target(tmp_path / "a.parquet")
        assert target.class_names == names
        assert target.labels.tolist() == [1, 0, 1]


def test_a_table_beside_flat_train_and_test_folders_is_read(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "0.png").write_bytes(png(0))
    write_csv(tmp_path / "train.csv", "file,breed", "train/0.png,pug", "train/1.png,corgi", "train/2.png,pug",
              "train/3.png,corgi")  # fmt: skip
    target = open_target(tmp_path)
    assert (target.modality, target.class_names) == ("image", ("corgi", "pug"))
