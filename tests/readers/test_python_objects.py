"""Data frames, Hugging Face data sets and torch data sets."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from neuralrank.errors import DataError, MissingExtraError, UsageError
from neuralrank.readers._open import open_target

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3)).astype(np.uint8)


def read_all(target: Any) -> list[Any]:
    return list(target.samples.read(np.arange(len(target.samples))))


class TestFrame:
    @pytest.fixture
    def pd(self) -> Any:
        return pytest.importorskip("pandas")

    def test_texts_and_categories(self, pd: Any) -> None:
        frame = pd.DataFrame({"text": ["a b", "c d", "e f"], "label": pd.Categorical(["x", "y", "x"])}, index=[7, 7, 9])
        target = open_target(frame)
        assert (target.name, target.modality, target.class_names) == ("DataFrame", "text", ("x", "y"))
        assert read_all(target) == ["a b", "c d", "e f"]

    def test_missing_labels_are_left_out(self, pd: Any) -> None:
        frame = pd.DataFrame(
            {"text": ["a", "b", "c", "d"], "label": [1.0, np.nan, 2.0, 1.0], "who": ["p", "q", None, "p"]}
        )
        target = open_target(frame, group_column="who")
        assert target.labels.tolist() == [0, 1, 0]
        assert target.class_names == ("1", "2")
        assert target.groups is not None
        assert target.groups.tolist() == [0, 1, 0]
        assert "1 sample without a label in column 'label' of 'DataFrame': left out." in target.notes

    def test_missing_regression_labels_are_left_out(self, pd: Any) -> None:
        target = open_target(pd.DataFrame({"text": ["a", "b", "c"], "label": [0.5, np.nan, 2.0]}))
        assert (target.task, target.labels.tolist()) == ("regression", [0.5, 2.0])

    @pytest.mark.parametrize("kind", ["pillow", "array", "path", "bytes"])
    def test_columns_of_images(self, pd: Any, tmp_path: Path, kind: str) -> None:
        files = [tmp_path / f"{number}.png" for number in range(6)]
        for file, pixels in zip(files, PIXELS, strict=True):
            Image.fromarray(pixels).save(file)
        column: dict[str, list[Any]] = {
            "pillow": [Image.fromarray(pixels) for pixels in PIXELS],
            "array": list(PIXELS),
            "path": files,
            "bytes": [file.read_bytes() for file in files],
        }
        target = open_target(pd.DataFrame({"photo": column[kind], "label": list("aabbcc")}))
        assert target.modality == "image"
        assert target.labels.tolist() == [0, 0, 1, 1, 2, 2]
        expected = {"path": files, "bytes": column["bytes"]}.get(kind, list(PIXELS))
        for found, wanted in zip(read_all(target), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)

    def test_the_fingerprint_follows_the_pixels(self, pd: Any) -> None:
        def fingerprint(pixels: Any) -> str:
            return open_target(pd.DataFrame({"photo": list(pixels), "label": list("aabbcc")})).fingerprint

        changed = PIXELS.copy()
        changed[5, 0, 0, 0] ^= 1
        assert fingerprint(PIXELS) == fingerprint(PIXELS.copy()) != fingerprint(changed)

    def test_options_and_errors(self, pd: Any) -> None:
        frame = pd.DataFrame({"text": ["a", "b"], "label": [0, 1]})
        with pytest.raises(
            UsageError, match=r"^--split needs data that has columns or splits\. Got 'train' for a data"
        ):
            open_target(frame, split="train")
        with pytest.raises(UsageError, match=r"Got 'labl'\. Did you mean 'label'\? Available: 'text', 'label'\.$"):
            open_target(frame, label_column="labl")
        with pytest.raises(DataError, match=r"^A column needs values of one type\. Got column 'label': "):
            open_target(pd.DataFrame({"text": ["a", "b"], "label": [1, "x"]}))

    def test_arrow_tables_are_frames_too(self) -> None:
        target = open_target(pa.table({"text": ["a", "b"], "label": [0, 1]}))
        assert (target.name, read_all(target)) == ("Table", ["a", "b"])


class TestHuggingFace:
    @pytest.fixture
    def datasets(self) -> Any:
        return pytest.importorskip("datasets")

    @pytest.fixture
    def photos(self, datasets: Any) -> Any:
        features = datasets.Features(
            {"image": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog", "emu"])}
        )
        images = [Image.fromarray(pixels) for pixels in PIXELS]
        return datasets.Dataset.from_dict({"image": images, "kind": [0, 1, 0, 1, 0, 1]}, features=features)

    def test_images_stay_encoded(self, photos: Any) -> None:
        target = open_target(photos)
        assert (target.name, target.modality, target.class_names) == ("Dataset", "image", ("cat", "dog"))
        raw = next(target.samples.read(np.array([4])))
        assert isinstance(raw, bytes)
        assert raw.startswith(b"\x89PNG")
        assert "1 of 3 stated classes has no sample: 'emu'." in target.notes

    def test_selected_rows_and_formats_are_respected(self, photos: Any) -> None:
        whole = read_all(open_target(photos))
        target = open_target(photos.select([5, 2, 0]).with_format("numpy"))
        assert target.labels.tolist() == [1, 0, 0]
        assert read_all(target) == [whole[5], whole[2], whole[0]]

    def test_splits_of_a_dict(self, datasets: Any, photos: Any) -> None:
        both = datasets.DatasetDict({"train": photos, "test": photos.select([0, 1])})
        target = open_target(both)
        assert len(target.samples) == 6
        assert target.notes[0] == "Split 'train' was read, of 'test', 'train'; --split names another, or 'all'."
        assert len(open_target(both, split="test").samples) == 2
        with pytest.raises(UsageError) as caught:
            open_target(both, split="dev")
        assert str(caught.value) == (
            "--split needs a split of 'DatasetDict'. Got 'dev'. Available: 'test', 'train', 'all'."
        )
        with pytest.raises(UsageError, match=r"Got 'test', 'train'\. Name one with --split\.$"):
            open_target(both, split="all")

    def test_saved_to_disk(self, datasets: Any, photos: Any, tmp_path: Path) -> None:
        photos.save_to_disk(tmp_path / "one")
        datasets.DatasetDict({"train": photos}).save_to_disk(tmp_path / "dict")
        memory = open_target(photos)
        for name in ("one", "dict"):
            target = open_target(tmp_path / name)
            assert target.name == str(tmp_path / name)
            assert target.fingerprint == memory.fingerprint
            assert read_all(target) == read_all(memory)

    def test_a_saved_data_set_without_its_files(self, photos: Any, tmp_path: Path) -> None:
        photos.save_to_disk(tmp_path)
        (tmp_path / "dataset_info.json").unlink()
        with pytest.raises(DataError, match=r"^A saved data set needs to be whole\. Got "):
            open_target(tmp_path)

    def test_without_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "state.json").write_text("{}")
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(MissingExtraError) as caught:
            open_target(tmp_path)
        assert str(caught.value) == (
            f"The saved data set {str(tmp_path)!r} needs the package 'datasets'. Got no such module. "
            "Run: pip install datasets"
        )

    def test_streams_are_refused(self, photos: Any) -> None:
        with pytest.raises(UsageError) as caught:
            open_target(photos.to_iterable_dataset())
        assert str(caught.value) == (
            "A data set needs a known number of rows. Got a IterableDataset. Load it without streaming."
        )


class Pairs:
    """What torch calls a map-style data set, without torch."""

    def __init__(self, samples: Any, labels: Any, **attributes: Any) -> None:
        self.samples, self.item_labels, self.n_reads = samples, labels, 0
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.item_labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        self.n_reads += 1
        if isinstance(self.samples[index], Exception):
            raise self.samples[index]
        return self.samples[index], self.item_labels[index]


class TestTorchDataset:
    def test_pillow_images_with_listed_targets(self) -> None:
        data = Pairs(
            [Image.fromarray(p) for p in PIXELS], [0, 1, 2] * 2, targets=[0, 1, 2] * 2, classes=["a", "b", "c"]
        )
        target = open_target(data)
        assert (target.name, target.modality, target.class_names) == ("Pairs", "image", ("a", "b", "c"))
        assert target.labels.tolist() == [0, 1, 2, 0, 1, 2]
        assert target.notes == ()
        np.testing.assert_array_equal(read_all(target)[5], PIXELS[5])

    def test_listed_targets_that_disagree_with_the_items_are_not_used(self) -> None:
        target = open_target(Pairs(list(PIXELS), [1, 0, 1, 0, 1, 0], targets=[0, 1, 0, 1, 0, 1]))
        assert target.labels.tolist() == [1, 0, 1, 0, 1, 0]
        assert target.notes == ("Every sample of the Pairs was read once for its label, as it has no list of them.",)

    def test_a_broken_image_is_an_empty_file_and_the_others_are_read(self) -> None:
        data = Pairs(list(PIXELS), [0, 1, 0, 1, 0, 1], targets=[0, 1, 0, 1, 0, 1])
        target = open_target(data)
        data.samples[5] = OSError("image file is truncated")
        found = read_all(target)
        assert found[5] == b""
        np.testing.assert_array_equal(found[4], PIXELS[4])

    def test_a_list_of_pairs_or_mappings(self) -> None:
        pairs = open_target([("one", 0), ("two", 1)])
        assert (pairs.modality, read_all(pairs)) == ("text", ["one", "two"])
        items = [{"image": p, "label": n % 2, "who": n // 3} for n, p in enumerate(PIXELS)]
        target = open_target(items, group_column="who")
        assert target.labels.tolist() == [0, 1, 0, 1, 0, 1]
        assert target.groups is not None
        assert target.groups.tolist() == [0, 0, 0, 1, 1, 1]
        with pytest.raises(UsageError, match=r"^--label-column needs a key of the items of list\. Got 'lab'"):
            open_target(items, label_column="lab")
        with pytest.raises(DataError, match=r"Got the keys 'a', 'b' in list\. Name one with --input-column\.$"):
            open_target([{"a": 1, "b": 2}])

    def test_items_without_a_label(self) -> None:
        class Bare:
            def __len__(self) -> int:
                return 2

            def __getitem__(self, index: int) -> Any:
                return PIXELS[index]

        with pytest.raises(DataError) as caught:
            open_target(Bare())
        assert str(caught.value) == (
            "The items of a torch data set need to be (sample, label). Got a ndarray from Bare. "
            "Return both from __getitem__."
        )

    def test_an_empty_data_set(self) -> None:
        with pytest.raises(DataError, match=r"^A target needs samples\. Got the empty Pairs\."):
            open_target(Pairs([], []))

    @pytest.fixture
    def torch(self) -> Any:
        return pytest.importorskip("torch")

    def test_tensors_with_channels_first(self, torch: Any) -> None:
        images = torch.from_numpy(PIXELS.astype(np.float32) / 255).permute(0, 3, 1, 2)
        data = torch.utils.data.TensorDataset(images, torch.tensor([0, 1, 0, 1, 0, 1]))
        target = open_target(data)
        assert target.notes == ("Image values from 0 to 1 were multiplied by 255 and rounded.",)
        np.testing.assert_array_equal(np.stack(read_all(target)), PIXELS)

    def test_subsets_and_concatenations_list_their_labels(self, torch: Any) -> None:
        data = Pairs(list(PIXELS), [0, 1, 2] * 2, targets=[0, 1, 2] * 2, classes=["a", "b", "c"])
        subset = torch.utils.data.Subset(data, [5, 0, 3, 2])
        target = open_target(subset)
        assert target.class_names == ("a", "c")
        assert target.labels.tolist() == [1, 0, 0, 1]
        np.testing.assert_array_equal(read_all(target)[0], PIXELS[5])
        joined = open_target(torch.utils.data.ConcatDataset([data, data]))
        assert joined.labels.tolist() == [0, 1, 2] * 4
        assert joined.notes == ()

    def test_a_pair_of_tensors(self, torch: Any) -> None:
        target = open_target((torch.from_numpy(PIXELS).permute(0, 3, 1, 2), torch.tensor([0, 1] * 3)))
        np.testing.assert_array_equal(np.stack(read_all(target)), PIXELS)
        listed = open_target((list(torch.eye(4)), [torch.tensor(n % 2) for n in range(4)]))
        assert (listed.modality, listed.labels.tolist()) == ("tabular", [0, 1, 0, 1])

    def test_normalised_tensors_are_refused(self, torch: Any) -> None:
        data = torch.utils.data.TensorDataset(torch.full((4, 3, 4, 5), -1.0), torch.tensor([0, 1, 0, 1]))
        with pytest.raises(
            DataError, match=r"Got float32 from -1\.0 to -1\.0\. Pass the pixels before any normalisation"
        ):
            open_target(data)

    def test_data_sets_without_a_length_are_refused(self, torch: Any) -> None:
        class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc]
            def __iter__(self) -> Any:
                return iter(())

        with pytest.raises(UsageError) as caught:
            open_target(Stream())
        assert str(caught.value) == (
            "A torch data set needs a length and items by number. Got a Stream. Collect its items in a list."
        )
