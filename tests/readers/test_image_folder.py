"""Folders of class folders: real JPEG and PNG files in a temporary folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuralrank.errors import DataError, UsageError
from neuralrank.readers._open import open_target
from neuralrank.readers.image_folder import image_folder


def save_image(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), value, dtype=np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, n in (("dog", 2), ("cat", 3)):
        for number in range(n):
            save_image(tmp_path / "photos" / label / f"{number:03}.png", number + 10 * n)
    return tmp_path / "photos"


def test_class_folders_become_sorted_classes(photos: Path) -> None:
    target = open_target(photos)
    assert target.class_names == ("cat", "dog")
    assert target.labels.tolist() == [0, 0, 0, 1, 1]
    assert target.labels.dtype == np.int64
    assert (target.modality, target.task, target.groups, target.notes) == ("image", "classification", None, ())
    assert target.name == str(photos)
    assert [target.samples.name(i) for i in range(5)] == [
        "cat/000.png", "cat/001.png", "cat/002.png", "dog/000.png", "dog/001.png",
    ]  # fmt: skip
    assert list(target.samples.read(np.array([1, 4]))) == [photos / "cat/001.png", photos / "dog/001.png"]


def test_nested_images_count_for_the_class_above(photos: Path) -> None:
    save_image(photos / "cat" / "indoor" / "sofa" / "9.jpg")
    target = open_target(photos)
    assert target.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert target.samples.name(3) == "cat/indoor/sofa/9.jpg"


def test_hidden_and_other_files_are_passed_over(photos: Path) -> None:
    save_image(photos / "cat" / ".hidden.png")
    save_image(photos / ".cache" / "a.png")
    (photos / "cat" / "Thumbs.db").write_bytes(b"x")
    assert len(open_target(photos).samples) == 5
    assert open_target(photos).notes == ()


def test_many_other_files_are_counted_in_a_note(photos: Path) -> None:
    for number in range(12):
        (photos / "cat" / f"{number}.xml").write_text("<a/>")
    save_image(photos / "loose.png")
    (photos / "bird").mkdir()
    assert open_target(photos).notes == (
        "1 image outside the class folders: left out.",
        "12 files that are no images: left out.",
        "1 folder without images: 'bird'.",
    )


def with_splits(root: Path, splits: dict[str, int]) -> Path:
    for split, n in splits.items():
        for label in ("cat", "dog"):
            for number in range(n):
                save_image(root / split / label / f"{number}.png", number)
    return root


def test_train_is_read_by_default_and_the_note_says_so(tmp_path: Path) -> None:
    root = with_splits(tmp_path, {"train": 3, "test": 2, "val": 2})
    target = open_target(root)
    assert len(target.samples) == 6
    assert target.samples.name(0) == "cat/0.png"
    assert target.notes == (
        "Split 'train' was read, of 'test', 'train', 'validation'; --split names another, or 'all'.",
    )


@pytest.mark.parametrize(("split", "n"), [("test", 4), ("val", 2), ("validation", 2), ("all", 12)])
def test_split_chooses_the_folder(tmp_path: Path, split: str, n: int) -> None:
    root = with_splits(tmp_path, {"train": 3, "test": 2, "val": 1})
    target = open_target(root, split=split)
    assert len(target.samples) == n
    assert target.class_names == ("cat", "dog")


def test_all_splits_keep_their_folder_in_the_names(tmp_path: Path) -> None:
    target = open_target(with_splits(tmp_path, {"train": 2, "test": 2}), split="all")
    assert target.samples.name(0) == "test/cat/0.png"


def test_without_train_everything_is_read(tmp_path: Path) -> None:
    target = open_target(with_splits(tmp_path, {"val": 2, "test": 2}))
    assert len(target.samples) == 8
    assert target.notes == ("No split is called 'train', so 'test', 'validation' were all read; --split names one.",)


def test_train_beside_other_classes_is_a_class(tmp_path: Path) -> None:
    for label in ("train", "plane", "car"):
        for number in range(2):
            save_image(tmp_path / label / f"{number}.png")
    assert open_target(tmp_path).class_names == ("car", "plane", "train")


def test_folders_beside_train_and_test_are_left_out_and_named(tmp_path: Path) -> None:
    root = with_splits(tmp_path, {"train": 2, "test": 2})
    save_image(root / "unlabelled" / "0.png")
    target = open_target(root)
    assert target.class_names == ("cat", "dog")
    assert target.notes[1] == "1 folder beside the splits left out: 'unlabelled'."


def test_unknown_split_lists_the_splits(tmp_path: Path) -> None:
    root = with_splits(tmp_path, {"train": 2, "test": 2})
    with pytest.raises(UsageError) as caught:
        open_target(root, split="tests")
    assert str(caught.value) == (
        f"--split needs a split of {str(root)!r}. Got 'tests'. Did you mean 'test'? Available: 'test', 'train', 'all'."
    )


def test_split_of_data_without_splits_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_target(photos, split="test")
    assert str(caught.value) == (
        f"--split needs data with splits. Got 'test' for {str(photos)!r}, which has none. Leave it out."
    )


def test_the_fingerprint_is_of_the_content_not_of_the_path(photos: Path, tmp_path: Path) -> None:
    first = open_target(photos).fingerprint
    shutil.copytree(photos, tmp_path / "elsewhere")
    assert len(first) == 64
    assert open_target(photos).fingerprint == first
    assert open_target(tmp_path / "elsewhere").fingerprint == first


def test_a_changed_pixel_changes_the_fingerprint(photos: Path) -> None:
    first = open_target(photos).fingerprint
    image = np.asarray(Image.open(photos / "cat/001.png")).copy()
    image[0, 0, 0] += 1
    Image.fromarray(image).save(photos / "cat/001.png")
    assert open_target(photos).fingerprint != first


def test_a_moved_image_changes_the_fingerprint(photos: Path) -> None:
    first = open_target(photos).fingerprint
    (photos / "cat/002.png").rename(photos / "dog/002.png")
    assert open_target(photos).fingerprint != first


def test_metadata_give_the_groups_of_class_folders(photos: Path) -> None:
    rows = ["file_name,patient", "cat/000.png,a", "cat/001.png,a", "cat/002.png,b", "dog/000.png,b"]
    (photos / "metadata.csv").write_text("\n".join(rows) + "\n")
    target = open_target(photos, group_column="patient")
    assert target.groups is not None
    assert target.groups.tolist() == [0, 0, 1, 1, 2]
    assert target.class_names == ("cat", "dog")
    assert target.notes == ("1 sample without a group: each stands alone.",)


def test_metadata_give_the_labels_of_flat_images(tmp_path: Path) -> None:
    for number in range(4):
        save_image(tmp_path / f"{number}.png", number)
    rows = [{"file_name": f"{number}.png", "label": "ab"[number % 2]} for number in range(4)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    target = open_target(tmp_path)
    assert target.class_names == ("a", "b")
    assert target.labels.tolist() == [0, 1, 0, 1]
    assert target.name == str(tmp_path)
    assert target.samples.name(2) == "2.png"
    assert list(target.samples.read(np.array([2]))) == [tmp_path / "2.png"]
    assert target.notes == (
        "Samples and labels come from 'metadata.jsonl'.",
        "Labels come from column 'label' (by its name); --label-column names another.",
    )


def test_metadata_of_each_split_start_at_their_folder(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(4):
            save_image(tmp_path / split / f"{number}.png", number)
        lines = [f"{number}.png,{number % 2}" for number in range(4)]
        (tmp_path / split / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    target = open_target(tmp_path)
    assert len(target.samples) == 4
    assert list(target.samples.read(np.array([0]))) == [tmp_path / "train/0.png"]
    assert len(open_target(tmp_path, split="all").samples) == 8


def test_metadata_at_the_root_are_cut_to_the_split(tmp_path: Path) -> None:
    lines = []
    for split in ("train", "test"):
        for number in range(4):
            save_image(tmp_path / split / f"{number}.png", number)
            lines.append(f"{split}/{number}.png,{number / 3}")
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,age", *lines]))
    target = open_target(tmp_path, split="test", label_column="age")
    assert target.task == "regression"
    np.testing.assert_allclose(target.labels, [0, 1 / 3, 2 / 3, 1])
    assert target.samples.name(0) == "test/0.png"


def test_metadata_without_file_names_list_their_columns(tmp_path: Path) -> None:
    save_image(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_text("file,label\n0.png,a\n")
    with pytest.raises(DataError) as caught:
        open_target(tmp_path)
    assert str(caught.value) == (
        "'metadata.csv' needs a column 'file_name' that names the images. Got the columns 'file', 'label'. "
        "Name it with --input-column."
    )


def test_a_column_without_metadata_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_target(photos, group_column="patient")
    assert str(caught.value) == (
        "--group-column needs data that has columns or splits. "
        f"Got 'patient' for {str(photos)!r}, which has no metadata.csv. Leave it out."
    )


def test_no_such_path() -> None:
    with pytest.raises(UsageError) as caught:
        open_target("no/such/folder")
    assert str(caught.value) == ("--data needs a file or folder that exists. Got 'no/such/folder'. Check the path.")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_target(tmp_path)
    assert str(caught.value) == (
        "A folder of data needs class folders with images, or a table. "
        f"Got the empty folder {str(tmp_path)!r}. Check the path."
    )


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.txt").write_text("x")
    (tmp_path / "b.pdf").write_text("x")
    with pytest.raises(DataError) as caught:
        open_target(tmp_path)
    assert str(caught.value) == (
        f"A folder of data needs images or a table. Got 2 files in {str(tmp_path)!r} and none of them is an image. "
        "Check the path."
    )


def test_images_without_class_folders(tmp_path: Path) -> None:
    for number in range(3):
        save_image(tmp_path / f"{number}.png")
    with pytest.raises(DataError) as caught:
        open_target(tmp_path)
    assert str(caught.value) == (
        f"A folder of images needs one folder per class. Got 3 images directly in {str(tmp_path)!r} and no class "
        "folder. Move the images of each class into a folder, or add a metadata.csv with the columns file_name and "
        "label."
    )


def test_flat_train_and_test_are_not_taken_for_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save_image(tmp_path / split / "0.png")
    with pytest.raises(DataError, match="Got 1 image directly in"):
        open_target(tmp_path)


def test_one_class_only(photos: Path) -> None:
    shutil.rmtree(photos / "dog")
    with pytest.raises(DataError) as caught:
        open_target(photos)
    assert str(caught.value) == (
        f"A ranking needs at least 2 classes. Got 1 class, 'cat', in {str(photos)!r}. "
        "Add a folder of images for each other class."
    )


def test_a_class_with_one_sample_is_kept_with_a_note(photos: Path) -> None:
    save_image(photos / "bird" / "0.png")
    target = open_target(photos)
    assert target.class_names == ("bird", "cat", "dog")
    assert target.notes == (
        "Class 'bird' has 1 sample; a class needs at least 2 to be held out, so the probe leaves it out.",
    )


def test_groups_are_numbered_and_must_fit(photos: Path) -> None:
    target = open_target(photos, groups=["p2", "p1", "p2", None, "p1"])
    assert target.groups is not None
    assert target.groups.tolist() == [0, 1, 0, 2, 1]
    with pytest.raises(DataError) as caught:
        open_target(photos, groups=[1, 2])
    assert str(caught.value) == (
        "Groups need one entry per sample. Got 5 samples and 2 group entries. Build both from the same rows."
    )


def test_a_file_is_no_image_folder(photos: Path) -> None:
    with pytest.raises(UsageError, match=r"^A folder of images needs to be a folder\. Got the file"):
        image_folder(photos / "cat/000.png")
    with pytest.raises(DataError) as caught:
        open_target(photos / "cat/000.png")
    assert str(caught.value) == (
        "--data needs a folder, or a file ending in .parquet, .pq, .csv, .tsv, .jsonl, .ndjson, .npz. "
        f"Got {str(photos / 'cat/000.png')!r}. Convert it, or point --data at the folder it lies in."
    )


def test_symlinked_class_folders_are_followed(photos: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    for label in ("cat", "dog"):
        (links / label).symlink_to(photos / label, target_is_directory=True)
    assert open_target(links).labels.tolist() == [0, 0, 0, 1, 1]


def test_a_table_beside_class_folders_is_named_in_a_note(photos: Path) -> None:
    (photos / "results.csv").write_text("a,b\n1,2\n")
    target = open_target(photos)
    assert target.class_names == ("cat", "dog")
    assert target.notes == (
        f"{str(photos)!r} was read as class folders; point --data at its 'results.csv' to read that table.",
    )
