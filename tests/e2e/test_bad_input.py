"""Whatever is wrong with a model or the data: one exact sentence, the right exit code, the other models ranked."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import bad_models
import numpy as np
import pytest
from bad_models import cut_in_half
from numpy.typing import NDArray
from tiny_zoo import CLASSES, Run, write_class_folders

from neuralrank import registry

Images = tuple[NDArray[np.uint8], NDArray[np.int64]]
FORMATS = ", ".join(registry.names("formats"))


# --- data and models that are not there --------------------------------------------------------------------------


def test_models_path_that_does_not_exist(run: Run, photos: Path, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    outcome = run("rank", missing, "--data", photos)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err == (
        f"error: A folder or file of models is needed. Got '{missing}', which does not exist. Check the path.\n"
    )


def test_data_path_that_does_not_exist(run: Run, models: Path, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    outcome = run("rank", models, "--data", missing)
    assert outcome.code == 2
    assert outcome.err == f"error: --data needs a file or folder that exists. Got '{missing}'. Check the path.\n"


def test_empty_folder_as_data(run: Run, models: Path, tmp_path: Path) -> None:
    outcome = run("rank", models, "--data", tmp_path)
    assert outcome.code == 2
    assert outcome.err == (
        "error: A folder of data needs class folders with images, or a table. "
        f"Got the empty folder '{tmp_path}'. Check the path.\n"
    )


@pytest.mark.parametrize("content", [(), ("README.md",)], ids=["empty-folder", "no-model-in-it"])
def test_folder_without_models(run: Run, photos: Path, tmp_path: Path, content: tuple[str, ...]) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    for name in content:
        (folder / name).write_text("Nothing here.")
    outcome = run("rank", folder, "--data", photos)
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err == (
        f"error: A ranking needs at least one model. Got none in '{folder}'. Formats known: {FORMATS}.\n"
    )


# --- labels ------------------------------------------------------------------------------------------------------


def test_single_class(run: Run, models: Path, own_photos: Path) -> None:
    for name in CLASSES[1:]:
        shutil.rmtree(own_photos / name)
    outcome = run("rank", models, "--data", own_photos)
    assert outcome.code == 2
    assert outcome.err == (
        f"error: A ranking needs at least 2 classes. Got 1 class, 'amber', in '{own_photos}'. "
        "Add a folder of images for each other class.\n"
    )


def test_class_with_one_sample_is_left_out_and_named(
    run: Run, models: Path, own_photos: Path, photos: Path, warm_cache: Path
) -> None:
    (own_photos / "lone").mkdir()
    shutil.copy(photos / "teal" / "095.png", own_photos / "lone" / "only.png")
    outcome = run("rank", models, "--data", own_photos, "--format", "json", "--cache-dir", warm_cache)
    assert outcome.code == 0
    target = outcome.ranking["target"]
    assert (target["n_samples"], target["n_probe"], target["class_names"]) == (121, 120, list(CLASSES))
    sentence = "Class 'lone' has 1 sample; a class needs at least 2 to be held out, so the probe leaves it out."
    assert sentence in target["notes"]
    assert outcome.scores == reference_scores(run, models, photos, warm_cache)


def test_gaps_in_the_labels_change_nothing_but_the_names(
    run: Run, models: Path, photos: Path, images: Images, warm_cache: Path, tmp_path: Path
) -> None:
    pixels, labels = images
    np.savez(tmp_path / "gaps.npz", images=pixels, labels=labels * 5 + 3)
    outcome = run("rank", models, "--data", tmp_path / "gaps.npz", "--format", "json", "--cache-dir", warm_cache)
    assert outcome.code == 0
    assert outcome.ranking["target"]["class_names"] == ["3", "8", "13", "18"]
    sentence = "Labels run from 3 to 18 with 4 distinct values; they keep these values as their names."
    assert sentence in outcome.ranking["target"]["notes"]
    assert sentence in outcome.err.splitlines()
    assert outcome.scores == reference_scores(run, models, photos, warm_cache)


def test_nan_among_the_features_of_an_archive(run: Run, models: Path, tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(40, 5))
    features[7, 3] = np.nan
    np.savez(tmp_path / "features.npz", x=features, y=np.arange(40) % 2)
    outcome = run("rank", models, "--data", tmp_path / "features.npz")
    assert outcome.code == 2
    assert outcome.err == (
        "error: Features need finite numbers. Got 1 row with NaN or infinity out of 40, the first is row 7. "
        "Remove or correct it.\n"
    )


@pytest.mark.parametrize(
    ("label", "advice"),
    [
        pytest.param("v{}", "Name another column with --label-column.", id="texts"),
        pytest.param("{}", "Name another column with --label-column, or use --task regression.", id="numbers"),
    ],
)
def test_ten_thousand_and_one_label_values(run: Run, models: Path, tmp_path: Path, label: str, advice: str) -> None:
    table = tmp_path / "many.csv"
    rows = [f"word {number},{label.format(number)}" for number in range(10_001)]
    table.write_text("\n".join(["text,label", *rows]))
    outcome = run("rank", models, "--data", table)
    assert outcome.code == 2
    assert outcome.err == (
        "error: A classification needs at most 10,000 classes. Got 10,001 distinct values in column 'label' of "
        f"'{table}'. {advice}\n"
    )


def test_csv_without_a_label_column(run: Run, models: Path, tmp_path: Path) -> None:
    table = tmp_path / "reviews.csv"
    table.write_text("\n".join(["review,stars", *(f"word {number},{number / 7}" for number in range(30))]))
    outcome = run("rank", models, "--data", table)
    assert outcome.code == 2
    assert outcome.err == (
        f"error: A table needs a label column. Got none that looks like it in '{table}'. "
        "Name it with --label-column; the columns are 'review', 'stars'.\n"
    )


# --- samples that cannot be read ---------------------------------------------------------------------------------


def test_jpeg_cut_in_half_is_counted_and_named_and_the_others_are_used(run: Run, models: Path, tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "photos", suffix=".jpg")
    cut_in_half(folder / "teal" / "093.jpg")
    outcome = run("rank", models / "crafted.onnx", "--data", folder, "--format", "json")
    assert outcome.code == 0
    target = outcome.ranking["target"]
    assert (target["n_samples"], target["n_probe"], target["n_unreadable"]) == (120, 119, 1)
    assert target["notes"] == ["1 of 120 samples could not be read (teal/093.jpg: Truncated File Read); left out."]
    shutil.rmtree(tmp_path / "photos")
    folder = write_class_folders(tmp_path / "photos", suffix=".jpg")
    (folder / "teal" / "093.jpg").unlink()
    without = run("rank", models / "crafted.onnx", "--data", folder, "--format", "json")
    assert without.scores == outcome.scores


def test_too_many_unreadable_images_are_an_error(run: Run, models: Path, own_photos: Path) -> None:
    for number in range(10):
        (own_photos / "amber" / f"{number:03}.png").write_bytes(b"no image")
    outcome = run("rank", models, "--data", own_photos)
    assert outcome.code == 2
    named = "".join(f"amber/{number:03}.png: no image format that is known; " for number in range(3))
    assert outcome.err == (
        f"error: At most 5% of the probe may be unreadable. Got 10 of 120 samples could not be read ({named}…). "
        "Repair the files, or raise NEURALRANK_MAX_UNREADABLE.\n"
    )


# --- one bad model beside three good ones ------------------------------------------------------------------------


def reference_scores(run: Run, models: Path, photos: Path, cache: Path) -> dict[str, float]:
    return run("rank", models, "--data", photos, "--format", "json", "--cache-dir", cache).scores


FAULTS = (
    pytest.param(
        bad_models.cut_onnx, "list",
        "bad.onnx could not be read as ONNX. Got 296 bytes that are damaged or cut short. Download or export it again.",
        id="truncated-onnx",
    ),
    pytest.param(
        bad_models.cut_safetensors, "list",
        "model.safetensors is cut short. Needed 4080 bytes. Got 2040. Download it again.",
        id="safetensors-cut-in-half",
    ),
    pytest.param(
        bad_models.pickle_file, "list",
        "old.pth needs to be a file that torch.save or torch.jit.save wrote. Got another one, and if it is a pickle, "
        "loading it runs code from the file. Convert it where you trust it, for example with "
        "torch.onnx.export(model, image, 'model.onnx') or model.save_pretrained(folder).",
        id="pickle",
    ),
    pytest.param(
        bad_models.token_model, "match",
        "The target data set needs an image model. Got a text model. Leave it out, or use other data.",
        id="other-modality",
    ),
    pytest.param(
        bad_models.rank_5_model, "load",
        "bad.onnx needs an input of shape (batch, channels, height, width) for images. Got rank 5, input 'image'. "
        "Export it with such an input.",
        id="other-input-rank",
    ),
    pytest.param(
        bad_models.nan_model, "extract",
        "Features need to be finite. Got NaN or infinity for 120 of 120 samples at layer 'flat'. "
        "The weights may be damaged; choose another --layer or another copy.",
        id="returns-nan",
    ),
    pytest.param(
        bad_models.endless_model, "extract",
        "The model gave no sign of progress for 4 s while it was extracting and was stopped. "
        "Raise --model-timeout if it is merely slow.",
        id="never-returns",
    ),
    pytest.param(
        bad_models.greedy_model, "extract",
        "The model asked for more memory than the limit of 1.0 GB while it was extracting. "
        "Raise --model-memory if the machine has more.",
        id="asks-for-100-gb",
    ),
    pytest.param(
        bad_models.constant_model, "score",
        "Features need to differ between samples. Got the same values for all. Check the model or the layer.",
        id="constant-features",
    ),
    pytest.param(
        bad_models.batch_mixing_model, "extract",
        "bad.onnx needs one row per sample in layer 'features'. Got shape (3,) for 8 samples. "
        "Choose another layer, or export it with an open batch axis.",
        id="mixes-the-samples",
    ),
    pytest.param(
        bad_models.damaged_card, "list",
        "bad.json needs to be a JSON card. Got something that is not JSON. "
        "Correct it, or remove it to have the preprocessing assumed.",
        id="damaged-card",
    ),
)  # fmt: skip


@pytest.mark.parametrize(("make", "stage", "sentence"), FAULTS)
def test_a_bad_model_is_one_failure_and_the_others_keep_their_scores(
    run: Run,
    models: Path,
    own_models: Path,
    photos: Path,
    warm_cache: Path,
    make: Callable[[Path], None],
    stage: str,
    sentence: str,
) -> None:
    make(own_models)
    limits = ("--model-timeout", 4, "--model-memory", 1)
    outcome = run("rank", own_models, "--data", photos, "--format", "json", "--cache-dir", warm_cache, *limits)
    assert outcome.code == 0
    [(_, failure)] = outcome.failures.items()
    assert failure == (stage, sentence)
    assert outcome.scores == reference_scores(run, models, photos, warm_cache)
    assert [row["rank"] for row in outcome.ranking["ranking"]] == [1, 2, 3]


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_a_model_that_fails_costs_those_beside_and_after_it_nothing(
    run: Run, models: Path, own_models: Path, photos: Path, tmp_path: Path, warm_cache: Path, n_jobs: int
) -> None:
    bad_models.nan_model(own_models)
    (own_models / "bad.onnx").rename(own_models / "a.onnx")
    (own_models / "bad.json").rename(own_models / "a.json")
    options = ("--format", "json", "--cache-dir", tmp_path / "cold", "--jobs", n_jobs)
    outcome = run("rank", own_models, "--data", photos, *options)
    assert [row["cached"] for row in outcome.ranking["ranking"]] == [False, False, False]
    assert outcome.scores == reference_scores(run, models, photos, warm_cache)


def test_strict_run_with_a_bad_model_prints_the_ranking_and_exits_with_3(
    run: Run, own_models: Path, photos: Path, warm_cache: Path
) -> None:
    bad_models.cut_onnx(own_models)
    outcome = run("rank", own_models, "--data", photos, "--cache-dir", warm_cache, "--strict")
    assert outcome.code == 3
    assert "Failed (1)" in outcome.out
    assert "3 models ranked, 1 failed." in outcome.out


def test_only_bad_models_exit_with_1_and_say_why(run: Run, photos: Path, tmp_path: Path) -> None:
    bad_models.cut_onnx(tmp_path)
    outcome = run("rank", tmp_path / "bad.onnx", "--data", photos, "--format", "json", "--strict")
    assert outcome.code == 1
    assert outcome.ranking["ranking"] == []
    assert list(outcome.failures.values()) == [
        (
            "list",
            "bad.onnx could not be read as ONNX. Got 296 bytes that are damaged or cut short. "
            "Download or export it again.",
        )
    ]


# --- formats of other packages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        pytest.param(
            "os._exit(3)",
            "The worker ended with exit code 3 and without a result while it was loading. It printed nothing.",
            id="exits",
        ),
        pytest.param(
            "print('thinking'); os.kill(os.getpid(), 11)",
            "The worker was killed by signal 11 (SIGSEGV) while it was loading. Its last output: thinking",
            id="crashes",
        ),
        pytest.param("raise ValueError('no such weights')", "ValueError: no such weights", id="raises"),
    ],
)
@pytest.mark.usefixtures("toy_format")
def test_a_model_that_ends_its_process_is_one_failure(
    run: Run, models: Path, own_models: Path, photos: Path, warm_cache: Path, program: str, sentence: str
) -> None:
    (own_models / "bad.toy").write_text(program)
    outcome = run("rank", own_models, "--data", photos, "--format", "json", "--cache-dir", warm_cache)
    assert outcome.code == 0
    assert outcome.failures == {"bad.toy": ("load", sentence)}
    assert outcome.scores == reference_scores(run, models, photos, warm_cache)


@pytest.mark.usefixtures("toy_format")
def test_a_plugin_that_cannot_be_imported_is_named(run: Run, models: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "site" / "toy_format.py").write_text("import a_package_that_is_not_there")
    outcome = run("rank", models, "--data", photos)
    assert outcome.code == 2
    assert outcome.err == (
        "error: The format 'toy' of an installed plug-in needs to be importable. "
        "Got: No module named 'a_package_that_is_not_there'. Update or uninstall 'toy-format'.\n"
    )


# --- places that cannot be written -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("no/such/report.json", "No such file or directory", id="missing-folder"),
        pytest.param("file/report.json", "Not a directory", id="below-a-file"),
        pytest.param("folder.json", "it is a folder", id="a-folder"),
    ],
)
def test_output_path_that_cannot_be_written_is_found_before_the_work(
    run: Run, models: Path, photos: Path, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.json").mkdir()
    outcome = run("rank", models, "--data", photos, "--out", tmp_path / name)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err == (
        f"error: --out needs a file that can be written. Got '{tmp_path / name}': {reason}. Choose another place.\n"
    )


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 16 KiB; `fill` leaves no room in it."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_full_disk_under_the_cache_costs_the_cache_only(
    run: Run, models: Path, photos: Path, warm_cache: Path, full_disk: Path
) -> None:
    fill(full_disk)
    outcome = run("rank", models, "--data", photos, "--format", "json", "--cache-dir", full_disk / "cache")
    assert outcome.code == 0
    assert outcome.scores == reference_scores(run, models, photos, warm_cache)
    sentence = (
        f"Features could not be kept in '{full_disk / 'cache'}'. Got: no space left on device. "
        "The ranking goes on without them; to keep them, name another place with --cache-dir."
    )
    assert [sentence in row["warnings"] for row in outcome.ranking["ranking"]] == [True, True, True]
    assert [path.name for path in full_disk.rglob("*") if path.is_file()] == ["filler"]


def test_full_disk_under_the_report_keeps_the_old_report(
    run: Run, models: Path, photos: Path, warm_cache: Path, full_disk: Path
) -> None:
    report = full_disk / "report.html"
    report.write_text("the old one")
    fill(full_disk)
    outcome = run("rank", models, "--data", photos, "--cache-dir", warm_cache, "--out", report, "--quiet")
    assert outcome.code == 2
    assert outcome.err == (
        f"error: --out needs a file that can be written. Got '{report}': No space left on device. "
        "Choose another place.\n"
    )
    assert report.read_text() == "the old one"
    assert sorted(path.name for path in full_disk.iterdir()) == ["filler", "report.html"]


def test_cache_path_that_is_a_file_costs_the_cache_only(run: Run, models: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    outcome = run(
        "rank", models / "crafted.onnx", "--data", photos, "--format", "json", "--cache-dir", tmp_path / "file"
    )
    assert outcome.code == 0
    assert outcome.ranking["ranking"][0]["warnings"] == [
        f"Features could not be kept in '{tmp_path / 'file'}'. Got: it is no folder. "
        "The ranking goes on without them; to keep them, name another place with --cache-dir."
    ]
    assert (tmp_path / "file").read_text() == "mine"
