"""What the fingerprint reads of large files and folders."""

from pathlib import Path

import numpy as np
import pytest

from neuralrank.readers import _fingerprint
from neuralrank.readers._fingerprint import files_content, fingerprint, spaced

LABELS = np.array([0, 1])


def of_files(*paths: Path) -> str:
    return fingerprint(files_content([path.name for path in paths], paths), LABELS, ("a", "b"))


def test_small_files_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(100_000))
    first = of_files(path)
    path.write_bytes(bytes(50_000) + b"x" + bytes(49_999))
    assert of_files(path) != first


def test_large_files_count_by_size_and_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fingerprint, "WHOLE_FILE_BYTES", 1000)
    monkeypatch.setattr(_fingerprint, "N_BLOCKS", 3)
    monkeypatch.setattr(_fingerprint, "BLOCK_BYTES", 10)
    path = tmp_path / "a"

    def with_byte_at(position: int, size: int = 2000) -> str:
        data = bytearray(size)
        data[position] = 1
        path.write_bytes(data)
        return of_files(path)

    # Blocks start at 0, 995 and 1990.
    assert len({with_byte_at(position) for position in (0, 1000, 1999)}) == 3
    assert with_byte_at(500) == with_byte_at(600)
    assert with_byte_at(500) != with_byte_at(500, size=2001)


def test_large_folders_count_by_size_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fingerprint, "WHOLE_FOLDER_BYTES", 1000)
    monkeypatch.setattr(_fingerprint, "BLOCK_BYTES", 10)
    first, second = tmp_path / "a", tmp_path / "b"
    second.write_bytes(bytes(600))

    def with_byte_at(position: int) -> str:
        data = bytearray(600)
        data[position] = 1
        first.write_bytes(data)
        return of_files(first, second)

    assert with_byte_at(0) != with_byte_at(599) != with_byte_at(300)
    assert with_byte_at(300) == with_byte_at(301)


def test_a_missing_file_counts_by_its_name(tmp_path: Path) -> None:
    assert of_files(tmp_path / "a") == of_files(tmp_path / "a") != of_files(tmp_path / "b")


def test_pieces_cannot_run_together() -> None:
    assert fingerprint([b"ab", b"c"], LABELS, ()) != fingerprint([b"a", b"bc"], LABELS, ())
    assert fingerprint([], LABELS, ("a", "b")) != fingerprint([], LABELS, ("b", "a"))


def test_spaced_indices_reach_both_ends() -> None:
    assert spaced(3, 5).tolist() == [0, 1, 2]
    assert spaced(101, 3).tolist() == [0, 50, 100]
