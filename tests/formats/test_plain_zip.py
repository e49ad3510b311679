"""Tricks with a zip archive, and that every format which is one refuses them alike."""

import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from neuralrank.errors import ModelError
from neuralrank.formats._export_archive import read_archive
from neuralrank.formats._plain_zip import MAX_NAME, open_zip, twentyfold
from neuralrank.formats._torch_archive import MAX_COMPRESSED_BYTES, read_torch_archive

Change = Callable[[zipfile.ZipFile], None]
SEVERAL_FOLDERS = "needs one folder with all of its entries. Got several, or an entry beside it. "


def keras(path: Path) -> None:
    with open_zip(path, kind="Keras archive") as opened:
        opened.read("m/data.pkl")


def skops(path: Path) -> None:
    with open_zip(path, kind="skops file", growth=twentyfold) as opened:
        opened.read("m/data.pkl")


def torch(path: Path) -> None:
    archive = read_torch_archive(path)
    assert archive is not None
    archive.read("data.pkl")


FORMATS = {".keras": keras, ".skops": skops, ".pt": torch, ".pt2": read_archive}


def write(path: Path, change: Change = lambda archive: None) -> Path:
    """Write an archive that every format takes for its own, until it looks for more."""
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("m/data.pkl", b"x" * 100)
        archive.writestr("m/archive_format", b"pt2")
        change(archive)
    return path


def entry(name: str, content: bytes = b"x", **values: int) -> Change:
    def change(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("m/placeholder")
        info.filename = name
        for key, value in values.items():
            setattr(info, key, value)
        archive.writestr(info, content)

    return change


FAULTS = {
    "above": (entry("m/../../x"), "needs entries inside the archive. Got the name 'm/../../x'."),
    "root": (entry("/m/x"), "needs entries inside the archive. Got the name '/m/x'."),
    "drive": (entry("C:/x"), "needs entries inside the archive. Got the name 'C:/x'."),
    "backslash": (entry("m/..\\x"), "needs entries inside the archive. Got the name 'm/..\\\\x'."),
    "line": (entry("m/a\nb"), "needs entries inside the archive. Got the name 'm/a\\nb'."),
    "delete": (entry("m/a\x7f"), "needs entries inside the archive. Got the name 'm/a\\x7f'."),
    "nothing": (entry("m//x"), "needs entries inside the archive. Got the name 'm//x'."),
    "long": (entry("m/" + "x" * MAX_NAME), f"needs entries inside the archive. Got the name {'m/' + 'x' * 78!r}."),
    "twice": (entry("m/data.pkl"), "needs entries of different names. Got one name twice."),
    "link": (entry("m/x", external_attr=0o120777 << 16), "needs plain files as entries. Got a link or a device."),
    "device": (entry("m/x", external_attr=0o020666 << 16), "needs plain files as entries. Got a link or a device."),
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_format_refuses_the_same_tricks_in_the_same_words(suffix: str, fault: str, tmp_path: Path) -> None:
    change, sentence = FAULTS[fault]
    with pytest.raises(ModelError) as error:
        FORMATS[suffix](write(tmp_path / f"m{suffix}", change))
    assert str(error.value) == f"m{suffix} {sentence} Save the model again where you trust it."


def patched(path: Path, field: int, value: int) -> Path:
    """Change a number of the first entry in the list at the end of the archive."""
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02") + field
    content[place : place + 4] = struct.pack("<I", value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_entry_may_not_claim_more_than_the_file_has(suffix: str, tmp_path: Path) -> None:
    for n_bytes in (101, 10**9):
        path = patched(write(tmp_path / f"m{suffix}"), 24, n_bytes)
        with pytest.raises(ModelError, match=rf"^m\{suffix} needs entries no larger than the file\. Got "):
            FORMATS[suffix](path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_entries_may_not_share_their_bytes(suffix: str, tmp_path: Path) -> None:
    """Each fits into the file, and all together are many times as large."""
    path = write(tmp_path / f"m{suffix}", entry("m/large", b"y" * 100_000))
    content = path.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    listed = content[start:end]
    large = listed[listed.rindex(b"PK\x01\x02") :]
    more = b"".join(large.replace(b"m/large", b"m/lar%02d" % number) for number in range(50))
    last = bytearray(content[end:])
    struct.pack_into("<HHI", last, 8, 53, 53, len(listed) + len(more))
    path.write_bytes(content[:end] + more + last)
    with pytest.raises(ModelError, match=rf"^m\{suffix} needs entries no larger than the file\. Got "):
        FORMATS[suffix](path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_archive_inside_a_cut_one_does_not_stand_for_it(suffix: str, tmp_path: Path) -> None:
    inner = write(tmp_path / "inner").read_bytes()
    path = write(tmp_path / f"m{suffix}", entry("m/inner", inner))
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(inner) + len(inner)])
    with pytest.raises(ModelError, match=rf"^m\{suffix} needs to be a whole .* Got a file that is damaged, cut short"):
        FORMATS[suffix](path)


def compressed(path: Path, n_bytes: int) -> Path:
    return write(path, entry("m/zeros", bytes(n_bytes), compress_type=zipfile.ZIP_DEFLATED))


def test_each_format_bounds_what_compressed_entries_grow_to(tmp_path: Path) -> None:
    for suffix in (".keras", ".pt2"):
        with pytest.raises(ModelError, match=r"needs plain entries\. Got compressed ones"):
            FORMATS[suffix](compressed(tmp_path / f"m{suffix}", 10))
    skops(compressed(tmp_path / "m.skops", 2**20))
    with pytest.raises(ModelError, match="needs compressed entries of at most"):
        skops(compressed(tmp_path / "m.skops", 2 * 2**20))
    torch(compressed(tmp_path / "m.pt", 2 * 2**20))
    with pytest.raises(ModelError, match="needs compressed entries of at most 268,435,456 bytes"):
        torch(compressed(tmp_path / "m.pt", MAX_COMPRESSED_BYTES + 1))


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_what_torch_writes_lies_in_one_folder(suffix: str, tmp_path: Path) -> None:
    for name in ("other/x", "beside"):
        with pytest.raises(ModelError) as error:
            FORMATS[suffix](write(tmp_path / f"m{suffix}", entry(name)))
        assert str(error.value) == f"m{suffix} {SEVERAL_FOLDERS}Save the model again where you trust it."


def test_a_strange_zip_under_a_name_of_many_things_is_no_model(tmp_path: Path) -> None:
    """Only a zip with a pickle of torch is checked as one, and only a suffix of torch makes a damaged one a model."""
    path = tmp_path / "m.model"
    with zipfile.ZipFile(path, "w") as archive:
        entry("../x")(archive)
    assert read_torch_archive(path) is None
    path.write_bytes(path.read_bytes()[:20])
    assert read_torch_archive(path) is None
    with pytest.raises(ModelError, match="whole archive of torch"):
        read_torch_archive(path.rename(tmp_path / "m.pt"))
