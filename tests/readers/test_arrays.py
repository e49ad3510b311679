"""Arrays, texts, images and mappings in memory, and .npz archives of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from neuralrank.errors import DataError, UsageError
from neuralrank.readers._open import open_target

LABELS = ["a", "b", "a", "b"]
FEATURES = np.arange(12, dtype=np.float64).reshape(4, 3)
IMAGES = np.arange(4 * 5 * 6 * 3, dtype=np.uint8).reshape(4, 5, 6, 3)


def read_all(target: Any) -> list[Any]:
    return list(target.samples.read(np.arange(len(target.samples))))


def test_a_pair_of_features_and_labels() -> None:
    target = open_target((FEATURES, np.array([3, 5, 3, 9])))
    assert (target.name, target.modality, target.task) == ("arrays", "tabular", "classification")
    assert target.labels.tolist() == [0, 1, 0, 2]
    assert target.class_names == ("3", "5", "9")
    rows = read_all(target)
    assert rows[1].dtype == np.float32
    assert rows[1].tolist() == [3.0, 4.0, 5.0]
    assert target.samples.name(1) == "row 1"
    assert target.notes[0] == "Labels run from 3 to 9 with 3 distinct values; they keep these values as their names."


def test_labels_of_another_length() -> None:
    with pytest.raises(DataError) as caught:
        open_target((np.zeros((120, 2)), np.zeros(119)))
    assert str(caught.value) == (
        "A target needs one label per sample. Got 120 samples and 119 labels. Build both from the same rows."
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39], ids=str)
def test_features_that_are_not_finite(bad: float) -> None:
    features = FEATURES.copy()
    features[2:, 1] = bad
    with pytest.raises(DataError) as caught:
        open_target((features, LABELS))
    assert str(caught.value) == (
        "Features need finite numbers. Got 2 rows with NaN or infinity out of 4, the first is row 2. "
        "Remove or correct them."
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=str)
def test_regression_labels_that_are_not_finite(bad: float) -> None:
    with pytest.raises(DataError) as caught:
        open_target((FEATURES, np.array([0.5, 1.5, bad, 2.0])))
    assert str(caught.value) == (
        "Labels need finite numbers. Got 1 row with NaN or infinity in the labels, the first is row 2. "
        "Remove or correct it."
    )


def test_constant_regression_labels() -> None:
    with pytest.raises(DataError) as caught:
        open_target((FEATURES, np.full(4, 0.5)))
    assert str(caught.value) == (
        "A regression needs labels that differ. Got the value 0.5 in every row of the labels. "
        "Name another column with --label-column."
    )


def test_infinite_class_labels_are_an_error() -> None:
    with pytest.raises(DataError, match="Got 1 row with NaN or infinity in the labels, the first is row 1"):
        open_target((FEATURES, np.array([1.0, np.inf, 2.0, 1.0])))


@pytest.mark.parametrize(
    ("labels", "names", "encoded"),
    [
        ([True, False, True, False], ("False", "True"), [1, 0, 1, 0]),
        ([1.0, 0.0, np.nan, 1.0], ("0", "1"), [1, 0, 1]),
        (["b", None, "", "a"], ("a", "b"), [1, 0]),
        ([2, None, 0, 2], ("0", "2"), [1, 0, 1]),
        (["b", float("nan"), "a", "a"], ("a", "b"), [1, 0, 0]),
        (np.array([-1, 0, -1, 0]), ("-1", "0"), [0, 1, 0, 1]),
        (np.array(["x", "y", "x", "x"]), ("x", "y"), [0, 1, 0, 0]),
        ([1, "1", 1, "1"], ("1", "'1'"), [0, 1, 0, 1]),
        ([b"x", b"y", b"x", b"y"], ("x", "y"), [0, 1, 0, 1]),
        (np.array([[1], [0], [1], [0]]), ("0", "1"), [1, 0, 1, 0]),
        (np.array([0, 2**63, 0, 2**63], dtype=np.uint64), ("0", "9223372036854775808"), [0, 1, 0, 1]),
    ],
    ids=[
        "bool", "float-nan", "text-none", "int-none", "text-nan", "minus-one", "numpy-text", "mixed", "bytes",
        "column", "uint64",
    ],
)  # fmt: skip
def test_labels_of_any_kind_become_class_indices(labels: Any, names: tuple[str, ...], encoded: list[int]) -> None:
    target = open_target((FEATURES, labels))
    assert target.class_names == names
    assert target.labels.tolist() == encoded
    assert len(target.samples) == len(encoded)


def test_one_class_only() -> None:
    with pytest.raises(DataError) as caught:
        open_target((FEATURES, ["a"] * 4))
    assert str(caught.value) == (
        "A ranking needs at least 2 classes. Got 1 class, 'a', in the labels. Add samples of a second class."
    )


def test_classes_with_one_sample_each_are_named_together() -> None:
    assert open_target((FEATURES, ["a", "b", "c", "c"])).notes == (
        "2 classes have 1 sample each ('a', 'b'); "
        "a class needs at least 2 to be held out, so the probe leaves them out.",
    )


def test_uint8_images_pass_unchanged() -> None:
    target = open_target((IMAGES, LABELS))
    assert target.modality == "image"
    np.testing.assert_array_equal(read_all(target)[2], IMAGES[2])
    assert target.notes == ()


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 5, 6, 1), (4, 1, 5, 6), (4, 5, 6, 3), (4, 3, 5, 6), (4, 5, 6, 4)])
def test_images_of_every_layout(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = read_all(open_target((images, LABELS)))[1]
    assert found.shape in {(5, 6), (5, 6, 3), (5, 6, 4)}
    assert found.sum() == images[1].sum()


def test_unit_floats_become_pixels_with_a_note() -> None:
    images = np.zeros((4, 5, 6), dtype=np.float32)
    images[1, 0, :3] = [0.5, 1.0, 1 / 255]
    target = open_target((images, LABELS))
    assert read_all(target)[1][0, :4].tolist() == [128, 255, 1, 0]
    assert read_all(target)[1].dtype == np.uint8
    assert target.notes == ("Image values from 0 to 1 were multiplied by 255 and rounded.",)


def test_normalised_images_are_refused() -> None:
    images = np.zeros((4, 5, 6), dtype=np.float32)
    images[3] = -2.5
    with pytest.raises(DataError) as caught:
        open_target((images, LABELS))
    assert str(caught.value) == (
        "Image arrays need uint8 values, or floats from 0 to 1. Got float32 from -2.5 to 0.0. "
        "Pass the pixels before any normalisation: every model brings its own."
    )


def test_arrays_that_are_neither_features_nor_images() -> None:
    with pytest.raises(DataError, match=r"Got \(4, 1, 2, 3, 4\)\. Reshape them\.$"):
        open_target((np.zeros((4, 1, 2, 3, 4)), LABELS))
    with pytest.raises(DataError, match=r"^An image needs 1, 3 or 4 channels .* Got an array of shape \(5, 6, 7\)"):
        open_target((np.zeros((4, 5, 6, 7)), LABELS))
    with pytest.raises(DataError, match=r"^Arrays of samples need numbers or texts\. Got dtype datetime64"):
        open_target((np.zeros(4, dtype="datetime64[s]"), LABELS))


def test_texts_paths_and_images_in_lists(tmp_path: Path) -> None:
    texts = open_target((["one", "two", "three", "a.png"], LABELS))
    assert texts.modality == "text"
    assert read_all(texts) == ["one", "two", "three", "a.png"]
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for number, file in enumerate(files):
        Image.fromarray(IMAGES[number]).save(file)
    paths = open_target((files, LABELS))
    assert (paths.modality, read_all(paths)) == ("image", files)
    pillow = open_target(([Image.open(file) for file in files], LABELS))
    np.testing.assert_array_equal(read_all(pillow)[3], IMAGES[3])
    ragged = open_target(([np.zeros((n + 2, 3, 3), np.uint8) for n in range(4)], LABELS))
    assert [image.shape for image in read_all(ragged)] == [(2, 3, 3), (3, 3, 3), (4, 3, 3), (5, 3, 3)]
    vectors = open_target(([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0]], LABELS))
    assert vectors.modality == "tabular"
    with pytest.raises(DataError, match=r"^Vectors need to be of one length\. Got shapes \(2,\) and \(1,\)"):
        open_target(([[0.0, 1.0], [2.0]], ["a", "b"]))
    with pytest.raises(DataError, match=r"^Samples need to be texts, images, paths .* Got a object\."):
        open_target(([object(), object()], ["a", "b"]))


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_other_pillow_modes_are_kept_as_files(mode: str) -> None:
    image = Image.new("I;16", (3, 2), 500) if mode == "I;16" else Image.new("RGB", (3, 2), (255, 0, 0)).convert(mode)
    raw = read_all(open_target(([image] * 4, LABELS)))[0]
    assert isinstance(raw, bytes)


def test_a_mapping_is_found_by_its_keys() -> None:
    target = open_target({"X": FEATURES, "y": LABELS, "groups": [1, 1, 2, 2], "extra": 3})
    assert target.labels.tolist() == [0, 1, 0, 1]
    assert target.groups is not None
    assert target.groups.tolist() == [0, 0, 1, 1]
    assert target.notes == (
        "Samples come from 'X' (by its name); --input-column names another.",
        "Labels come from 'y' (by its name); --label-column names another.",
    )


def test_keys_can_be_named_and_unknown_ones_are_listed() -> None:
    data = {"X": FEATURES, "y": LABELS, "z": ["p", "p", "q", "q"], "Who": [1, 1, 2, 2]}
    target = open_target(data, input_column="X", label_column="z", group_column="Who")
    assert target.class_names == ("p", "q")
    assert target.groups is not None
    assert target.notes == ()
    with pytest.raises(UsageError) as caught:
        open_target(data, label_column="zz")
    assert str(caught.value) == (
        "--label-column needs a key of 'arrays'. Got 'zz'. Did you mean 'z'? Available: 'X', 'y', 'z', 'Who'."
    )


def test_a_mapping_without_labels() -> None:
    with pytest.raises(DataError) as caught:
        open_target({"X": FEATURES, "foo": LABELS})
    assert str(caught.value) == (
        "Arrays need a key for the labels, such as 'y'. Got 'X', 'foo' in 'arrays'. Name it with --label-column."
    )


def test_class_names_beside_the_labels_are_used() -> None:
    target = open_target({"data": FEATURES, "target": np.array([0, 1, 0, 1]), "target_names": np.array(["no", "yes"])})
    assert target.class_names == ("no", "yes")


def test_arrays_without_labels_and_options_without_columns() -> None:
    with pytest.raises(UsageError) as caught:
        open_target(FEATURES)
    assert str(caught.value) == (
        "Arrays need labels beside them. Got a ndarray alone. Pass a pair (samples, labels), or a mapping with the "
        "keys 'X' and 'y'."
    )
    with pytest.raises(UsageError) as caught:
        open_target((FEATURES, LABELS), label_column="y")
    assert str(caught.value) == (
        "--label-column needs data that has columns or splits. Got 'y' for a pair of arrays. Leave it out."
    )


def test_no_samples() -> None:
    with pytest.raises(DataError, match=r"^A target needs samples\. Got none\."):
        open_target(([], []))


def test_the_fingerprint_follows_pixels_and_labels() -> None:
    first = open_target((IMAGES, LABELS)).fingerprint
    changed = IMAGES.copy()
    changed[3, 4, 5, 2] += 1
    assert open_target((IMAGES.copy(), list(LABELS))).fingerprint == first
    assert open_target((changed, LABELS)).fingerprint != first
    assert open_target((IMAGES, ["a", "b", "b", "b"])).fingerprint != first


def test_groups_must_be_single_values() -> None:
    with pytest.raises(DataError) as caught:
        open_target((FEATURES, LABELS), groups=np.zeros((4, 2)))
    assert str(caught.value) == "Groups need one value per sample. Got a list. Pass texts or numbers."


# --- archives ----------------------------------------------------------------------------------------------------


def test_npz_features_with_groups(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=FEATURES, labels=np.array(LABELS), groups=np.array(["p", "p", "q", "q"]))
    target = open_target(tmp_path / "a.npz")
    assert (target.name, target.modality) == (str(tmp_path / "a.npz"), "tabular")
    assert target.groups is not None
    assert target.groups.tolist() == [0, 0, 1, 1]


def test_npz_images_with_splits(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=LABELS[:2])
    target = open_target(tmp_path / "a.npz")
    assert len(target.samples) == 4
    assert target.notes[0] == "Split 'train' was read, of 'test', 'train'; --split names another, or 'all'."
    assert len(open_target(tmp_path / "a.npz", split="test").samples) == 2
    with pytest.raises(DataError, match=r"needs to be named\. Got 'test', 'train'\. Name one with --split\.$"):
        open_target(tmp_path / "a.npz", split="all")
    np.savez(tmp_path / "b.npz", train_images=IMAGES, train_labels=LABELS, val_images=IMAGES, val_labels=LABELS)
    assert len(open_target(tmp_path / "b.npz", split="val").samples) == 4


def test_npz_texts(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", text=np.array(["one", "two"]), label=np.array([0, 1]))
    assert read_all(open_target(tmp_path / "a.npz")) == ["one", "two"]


def test_npz_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", X=FEATURES, y=LABELS)
    assert open_target(tmp_path / "a.npz").fingerprint == open_target(tmp_path / "b.npz").fingerprint


def test_npz_with_python_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=FEATURES, y=np.array(["a", 1, None, 2], dtype=object))
    with pytest.raises(DataError) as caught:
        open_target(tmp_path / "a.npz")
    assert str(caught.value) == (
        f"An .npz file needs arrays of numbers or texts. Got Python objects under 'y' in {str(tmp_path / 'a.npz')!r}, "
        "which could run code when loaded. Save the array with a plain dtype."
    )


def test_npz_that_is_no_archive_or_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(DataError) as caught:
        open_target(path)
    assert str(caught.value) == (
        f"An .npz file needs to be whole. Got {str(path)!r}: it is not a zip archive. Copy or save it again."
    )
    np.savez_compressed(path, X=np.random.default_rng(0).random((4, 300)), y=LABELS)
    data = bytearray(path.read_bytes())
    data[200:800] = bytes(600)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"^An \.npz file needs to be whole\. Got "):
        open_target(path)
