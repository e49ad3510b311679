"""A folder of class folders of images, with or without `train/` and `test/` above them.

An optional `metadata.csv` or `metadata.jsonl` with a `file_name` column, as on the Hugging Face Hub, gives groups,
and labels where there are no class folders. Images are not opened here.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neuralrank.errors import DataError, UsageError
from neuralrank.readers._columns import image_suffix
from neuralrank.readers._fingerprint import files_content
from neuralrank.readers._labels import Labels
from neuralrank.readers._metadata import METADATA_FILES, find_metadata, group_values, metadata_target
from neuralrank.readers._options import Groups, Options, counted, existing_path, quoted, refuse_options
from neuralrank.readers._samples import FileSamples
from neuralrank.readers._splits import ALL, choose_splits, split_name
from neuralrank.readers._target import Found, build_target
from neuralrank.types import Target, Task


@dataclass(frozen=True)
class _Scan:
    """The visible files of one folder: images by class folder, and what else there is."""

    classes: dict[str, list[Path]]
    """Sorted image paths of every folder directly below; empty where it holds no image."""
    loose: list[Path]
    """Images directly in the folder."""
    n_others: int
    """Files that are no images, metadata aside."""
    nested: frozenset[str]
    """Folders directly below that have images in folders of their own, or metadata."""

    @property
    def filled(self) -> list[str]:
        return [name for name, images in self.classes.items() if images]


def image_folder(
    path: str | Path,
    *,
    split: str | None = None,
    input_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    groups: Groups | None = None,
    task: Task | None = None,
) -> Target:
    """Read a folder of images; the folder directly above names the class, and images further down count for it.

    Args:
        path: holds one folder per class, or `train/`, `test/`, `validation/` that do.
        split: which of these; None takes 'train' if there is one, else all; 'all' takes all.
        input_column: the metadata column that names the files; 'file_name' if not given.
        label_column: the metadata column with the labels; None takes the class folders, if there are at least 2.
        group_column: the metadata column that says which images belong together.
        groups: shape (n_images,); the same, given as values, for images sorted by class folder and path.
        task: None decides by the labels: in the metadata, fractions make a regression, lists a multi-label target.

    Raises:
        UsageError: no such split or column.
        DataError: no images, no class folders, or a single class.
    """
    options = Options(
        split=split, input_column=input_column, label_column=label_column, group_column=group_column,
        groups=groups, task=task,
    )  # fmt: skip
    name, root = str(path), existing_path(path)
    if not root.is_dir():
        raise UsageError(f"A folder of images needs to be a folder. Got the file {name!r}. Name its folder.")
    scan = _scan(root)
    names = _split_folders(scan, split, any((root / file).is_file() for file in METADATA_FILES))
    chosen, note = choose_splits((split_name(folder) or folder for folder in names), split, repr(name))
    parts = [folder for folder in names if (split_name(folder) or folder) in chosen]
    roots = [root / folder for folder in parts] or [root]
    scans = [_scan(folder) for folder in roots] if parts else [scan]
    metadata = find_metadata(roots, root)
    class_names = {label for found in scans for label in found.filled}
    if metadata is not None and (label_column is not None or len(class_names) < 2):
        return metadata_target(metadata, options, name=name, note=note)
    if metadata is None:
        refuse_options(
            options, ("input_column", "label_column", "group_column"), f"{name!r}, which has no {METADATA_FILES[0]}"
        )
    _check_images(scans, name)
    images = [(label, image) for found in scans for label in found.classes for image in found.classes[label]]
    base = roots[0] if len(roots) == 1 else root
    file_names = [image.relative_to(base).as_posix() for _, image in images]
    paths = [image for _, image in images]
    found = Found(
        name=name,
        modality="image",
        samples=FileSamples(paths, file_names),
        labels=Labels(
            values=[label for label, _ in images],
            where=repr(name),
            remedy="Add a folder of images for each other class.",
        ),
        content=files_content(file_names, paths),
        groups=None if metadata is None or group_column is None else group_values(metadata, options, paths, name),
        notes=(note, *_notes(scans, names, scan)),
    )
    return build_target(found, options)


def _scan(folder: Path) -> _Scan:
    classes: dict[str, list[Path]] = {}
    loose: list[Path] = []
    nested: set[str] = set()
    n_others = 0
    for child in sorted(folder.iterdir()):
        if child.name.startswith("."):
            continue
        if not child.is_dir():
            loose += [child] if image_suffix(child.name) else []
            n_others += not image_suffix(child.name) and child.name not in METADATA_FILES
            continue
        classes[child.name] = images = []
        for parent, folders, files in os.walk(child):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            visible = [name for name in sorted(files) if not name.startswith(".")]
            here = [Path(parent, name) for name in visible if image_suffix(name)]
            images += here
            n_others += sum(not image_suffix(name) and name not in METADATA_FILES for name in visible)
            if (here and Path(parent) != child) or (Path(parent) == child and set(METADATA_FILES) & set(visible)):
                nested.add(child.name)
        images.sort()
    return _Scan(classes, loose, n_others, frozenset(nested))


def _split_folders(scan: _Scan, wanted: str | None, has_metadata: bool) -> list[str]:
    """Return the folders that are splits, empty where the folders are classes.

    'train' may be a class beside 'plane' and 'car', so a name alone does not decide. Folders are splits if all have
    names of splits and one is 'train' or has class folders inside, if 'train' and another split have class folders,
    or if the user names one that has.
    """
    named = [name for name in scan.filled if split_name(name)]
    deep = [name for name in named if name in scan.nested]
    splits = {split_name(name) for name in deep}
    if len(named) == len(scan.filled) and (deep or has_metadata or "train" in map(split_name, named)):
        return named
    asked = wanted is not None and wanted != ALL and (split_name(wanted) or wanted) in splits
    return deep if asked or ("train" in splits and len(splits) > 1) else []


def _check_images(scans: Sequence[_Scan], name: str) -> None:
    if any(found.filled for found in scans):
        return
    n_loose = sum(len(found.loose) for found in scans)
    n_others = sum(found.n_others for found in scans)
    if n_loose:
        raise DataError(
            f"A folder of images needs one folder per class. Got {counted(n_loose, 'image')} directly in {name!r} and "
            f"no class folder. Move the images of each class into a folder, or add a {METADATA_FILES[0]} with the "
            "columns file_name and label."
        )
    if n_others:
        raise DataError(
            f"A folder of data needs images or a table. Got {counted(n_others, 'file')} in {name!r} and none of them "
            "is an image. Check the path."
        )
    raise DataError(
        f"A folder of data needs class folders with images, or a table. Got the empty folder {name!r}. Check the path."
    )


def _notes(scans: Sequence[_Scan], splits: Sequence[str], top: _Scan) -> list[str]:
    notes = []
    n_loose = sum(len(found.loose) for found in scans)
    n_others = sum(found.n_others for found in scans)
    empty = [label for found in scans for label, images in found.classes.items() if not images]
    outside = [label for label in top.filled if splits and label not in splits]
    if n_loose:
        notes.append(f"{counted(n_loose, 'image')} outside the class folders: left out.")
    if n_others > max(10, sum(len(images) for found in scans for images in found.classes.values()) // 100):
        notes.append(f"{counted(n_others, 'file')} that are no images: left out.")
    if empty:
        notes.append(f"{counted(len(empty), 'folder')} without images: {quoted(empty, 5)}.")
    if outside:
        notes.append(f"{counted(len(outside), 'folder')} beside the splits left out: {quoted(outside, 5)}.")
    return notes
