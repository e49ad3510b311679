import io

import numpy as np
import pytest
from PIL import Image

from neuralrank.errors import DataError
from neuralrank.probe import draw_indices, open_samples, read_probe, write_samples
from neuralrank.readers._open import open_target
from neuralrank.storage.feature_cache import feature_cache

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, size=(60, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(60) % 3


def probe_of(samples, labels, *, groups=None, n_samples=1000, max_unreadable=0.0, cache=None):
    target = open_target((samples, labels), groups=groups)
    return read_probe(target, n_samples=n_samples, seed=0, max_unreadable=max_unreadable, cache=cache)


def target_of(labels):
    return open_target((np.zeros((len(labels), 2, 2, 3), dtype=np.uint8), labels))


@pytest.mark.parametrize("n_samples", [30, 100, 777])
def test_each_class_gets_its_share(n_samples):
    labels = np.repeat([0, 1, 2], (500, 300, 200))
    counts = np.bincount(labels[draw_indices(target_of(labels), n_samples, 0)])
    assert counts.sum() == n_samples
    np.testing.assert_allclose(counts, n_samples * np.array([0.5, 0.3, 0.2]), atol=1)


def test_rare_classes_get_two_samples_and_single_ones_none():
    labels = np.repeat([0, 1, 2], (1000, 3, 1))
    counts = np.bincount(labels[draw_indices(target_of(labels), 50, 0)], minlength=3)
    assert counts.tolist() == [48, 2, 0]


def test_a_larger_probe_holds_the_smaller_one_and_another_seed_draws_others():
    target = target_of(np.arange(900) % 3)
    small, large = draw_indices(target, 90, 5), draw_indices(target, 300, 5)
    assert set(small) <= set(large)
    assert set(draw_indices(target, 90, 6)) != set(small)
    assert np.all(np.diff(small) > 0)


def test_more_classes_than_half_the_probe_enlarge_it_and_say_so():
    probe = probe_of(RNG.integers(0, 256, size=(60, 4, 4, 3), dtype=np.uint8), np.arange(60) % 20, n_samples=15)
    assert len(probe) == 40
    assert "The probe has 40 samples instead of 15: each class needs 2." in probe.notes


def test_exact_duplicates_share_a_group():
    images = IMAGES.copy()
    images[10] = images[0]
    images[20] = images[0]
    probe = probe_of(images, LABELS)
    assert probe.groups is not None
    assert probe.groups[0] == probe.groups[10] == probe.groups[20]
    assert len(np.unique(probe.groups)) == 58
    assert "2 of 60 samples repeat another exactly: they are held out together." in probe.notes


def test_the_same_picture_in_another_file_format_is_a_duplicate():
    def encoded(kind):
        file = io.BytesIO()
        Image.fromarray(IMAGES[0]).save(file, kind)
        return file.getvalue()

    files = [encoded("PNG"), encoded("BMP"), *[np.asarray(image) for image in IMAGES[1:]]]
    rows = [Image.open(io.BytesIO(file)) if isinstance(file, bytes) else Image.fromarray(file) for file in files]
    probe = probe_of(rows, np.arange(61) % 3)
    assert probe.groups is not None
    assert probe.groups[0] == probe.groups[1]


def test_groups_linked_by_a_duplicate_become_one():
    images = IMAGES.copy()
    images[30] = images[0]
    probe = probe_of(images, LABELS, groups=[f"patient {index // 10}" for index in range(60)])
    assert probe.groups is not None
    assert probe.groups[0] == probe.groups[30] == probe.groups[39]
    assert len(np.unique(probe.groups)) == 5


def test_no_groups_without_duplicates():
    assert probe_of(IMAGES, LABELS).groups is None


def test_one_group_is_refused():
    with pytest.raises(DataError, match=r"at least 2 groups of samples\. Got 1\."):
        probe_of(IMAGES, LABELS, groups=["a"] * 60)


def test_the_digest_is_of_the_content_alone():
    assert probe_of(IMAGES, LABELS).digest == probe_of(list(IMAGES), [str(label) for label in LABELS]).digest
    changed = IMAGES.copy()
    changed[5, 3, 3, 1] ^= 1
    assert probe_of(changed, LABELS).digest != probe_of(IMAGES, LABELS).digest


def test_what_was_found_on_decoding_is_remembered(tmp_path):
    cache = feature_cache(tmp_path)
    first = probe_of(IMAGES, LABELS, cache=cache)
    assert list(tmp_path.rglob("*.safetensors"))
    second = probe_of(IMAGES, LABELS, cache=cache)
    assert first.digest == second.digest


def test_samples_come_back_as_they_were_written(tmp_path):
    sizes = [np.full((h, w, 3), h + w, dtype=np.uint8) for h, w in [(3, 4), (5, 2), (1, 1)] * 5]
    probe = probe_of([Image.fromarray(image) for image in sizes], np.arange(15) % 3)
    write_samples(probe, tmp_path)
    for got, index in zip(open_samples(tmp_path), probe.indices, strict=True):
        np.testing.assert_array_equal(got, sizes[index])


def test_texts_come_back_as_they_were_written(tmp_path):
    texts = ["", "naïve", "日本語", "a\nb", "plain"] * 4
    probe = probe_of(texts, np.arange(20) % 2)
    write_samples(probe, tmp_path)
    assert list(open_samples(tmp_path)) == texts


def test_too_few_samples_are_refused():
    with pytest.raises(DataError) as error:
        probe_of(IMAGES[:6], LABELS[:6])
    assert str(error.value) == (
        "A ranking needs at least 10 readable samples in the probe. Got 6. Give more data or a larger --probe."
    )
