import io
from itertools import pairwise

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


# --- multi-label targets, and regression with several targets ----------------------------------------------------

FEATURES = RNG.normal(size=(2000, 3))


def table_of(n=2000):
    """Return labels of very different frequency: half, a tenth, 5 samples, all but 3, one, none, all."""
    table = np.zeros((n, 7), dtype=np.int64)
    table[::2, 0] = table[::10, 1] = 1
    table[[7, 300, 301, 999, 1500], 2] = 1
    table[:, 3] = 1
    table[[4, 77, 1234], 3] = 0
    table[50, 4] = 1
    table[:, 6] = 1
    return table


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("n_samples", [20, 100, 700])
def test_every_label_gets_two_samples_with_it_and_two_without(n_samples, seed):
    table = table_of()
    drawn = table[draw_indices(open_target((FEATURES, table)), n_samples, seed)]
    assert len(drawn) == n_samples
    assert drawn[:, :4].sum(axis=0).min() >= 2
    assert (1 - drawn[:, :4]).sum(axis=0).min() >= 2


def test_common_labels_keep_their_share():
    drawn = table_of()[draw_indices(open_target((FEATURES, table_of())), 1000, 0)]
    np.testing.assert_allclose(drawn[:, :2].mean(axis=0), [0.5, 0.1], atol=0.05)


def test_multi_label_probes_of_one_seed_are_nested():
    target = open_target((FEATURES, table_of()))
    draws = [set(draw_indices(target, n_samples, 5)) for n_samples in (1, 10, 30, 31, 500, 5000)]
    assert all(small <= large for small, large in pairwise(draws))
    assert len(draws[-1]) == 2000
    assert set(draw_indices(target, 30, 6)) != draws[2]
    assert np.array_equal(draw_indices(target, 30, 5), draw_indices(target, 30, 5))


def test_samples_are_shared_among_the_labels_that_need_them():
    table = np.zeros((100, 20), dtype=np.int64)
    table[:10] = 1  # the labels always come together
    assert len(draw_indices(open_target((FEATURES[:100], table)), 4, 0)) == 4


def test_more_labels_than_the_probe_has_room_for_enlarge_it_and_say_so():
    table = np.eye(40, dtype=np.int64)[np.arange(400) % 40]
    probe = probe_of(FEATURES[:400], table, n_samples=30)
    assert len(probe) == 80
    assert probe.labels.sum(axis=0).tolist() == [2] * 40
    assert "The probe has 80 samples instead of 30: each label needs 2 with it and 2 without." in probe.notes


def test_labels_the_probe_cannot_tell_anything_of_are_left_out_with_a_note():
    probe = probe_of(FEATURES, table_of(), n_samples=60)
    assert probe.class_names == ("0", "1", "2", "3")
    assert probe.labels.shape == (60, 4)
    np.testing.assert_array_equal(probe.labels, table_of()[probe.indices, :4])
    assert probe.notes == (
        "3 of 7 labels are left out ('4', '5', '6'): a label needs 2 samples of the probe that have it and 2 that do "
        "not.",
    )


def test_labels_lost_with_unreadable_samples_are_left_out(tmp_path):
    table = np.c_[np.arange(30) % 2, np.arange(30) < 3].astype(np.int64)
    paths = [tmp_path / f"{number}.png" for number in range(30)]
    for path, image in zip(paths, IMAGES, strict=False):
        Image.fromarray(image).save(path)
    for path in paths[:2]:
        path.write_bytes(b"no image")
    probe = probe_of(paths, table, max_unreadable=0.5)
    assert (len(probe), probe.class_names) == (28, ("0",))
    assert probe.notes[-1].startswith("1 of 2 labels is left out ('1'): a label needs 2 samples of the probe")


def test_the_labels_do_not_change_the_digest_of_a_multi_label_probe():
    table = np.c_[np.arange(60) % 2, np.arange(60) % 3 == 0].astype(np.int64)
    assert probe_of(IMAGES, table).digest == probe_of(IMAGES, 1 - table).digest == probe_of(IMAGES, LABELS).digest


def test_no_label_to_tell_anything_of():
    table = np.zeros((60, 2), dtype=np.int64)
    table[0, 0] = 1
    with pytest.raises(DataError) as error:
        probe_of(IMAGES, table)
    assert str(error.value) == (
        "A ranking needs at least 1 label that 2 samples have and 2 do not. Got none among 2 labels of 'arrays'. "
        "Give more data."
    )


def test_duplicates_among_multi_label_samples_share_a_group():
    images = IMAGES.copy()
    images[10] = images[0]
    probe = probe_of(images, np.c_[np.arange(60) % 2, np.arange(60) % 3 == 0].astype(np.int64))
    assert probe.groups is not None
    assert probe.groups[0] == probe.groups[10]


def test_a_regression_with_several_targets_keeps_them_but_for_constant_ones():
    table = FEATURES[:60].copy()
    assert probe_of(IMAGES, table).labels.tolist() == table.tolist()
    table[:, 1] = 2.5
    probe = probe_of(IMAGES, table)
    assert probe.labels.tolist() == table[:, [0, 2]].tolist()
    assert probe.notes == ("Target columns with one value in all of the probe are left out (counted from 0): 1.",)


def test_targets_that_are_constant_in_the_probe_alone():
    table = np.zeros((60, 2))
    table[0] = 0.5
    assert 0 not in draw_indices(open_target((IMAGES, table)), 10, 0)
    with pytest.raises(DataError) as error:
        probe_of(IMAGES, table, n_samples=10)
    assert str(error.value) == (
        "A regression needs labels that differ. Got one value for each of 2 targets in the probe of 'arrays'. "
        "Give more data or a larger --probe."
    )
