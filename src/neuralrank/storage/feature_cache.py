"""Keep extracted features on disk, found by the content they were made from.

One safetensors file per key, in folders named by the key's first two digits. Files appear whole or not at all;
whatever cannot be read back as it was written counts as absent. Nothing is ever evicted: the user deletes the folder.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.storage._whole_file import make_folder, not_kept, sweep_parts, write_whole

_TENSOR = "features"
_STALE_SECONDS = 3600  # writers of versions before this one hold no lock; an hour is longer than any write takes
_KEY = re.compile(r"[0-9a-f]{16,128}")


def cache_key(**parts: Any) -> str:
    """Return the key of what `parts` describe: 64 hexadecimal digits; the order of the parts does not matter.

    Args:
        parts: everything that the features depend on, as JSON values.

    Example:
        >>> cache_key(model="a", layer="pool")[:12]
        '3d36fa3ecf66'
        >>> cache_key(layer="pool", model="a") == cache_key(model="a", layer="pool")
        True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def feature_cache(folder: Path) -> "FeatureCache":
    """Return the store in `folder`, which need not exist before the first `put`."""
    return FeatureCache(folder=Path(folder).expanduser())


@dataclass(frozen=True, kw_only=True)
class FeatureCache:
    """Features and their metadata by key; any number of processes may share one folder."""

    folder: Path

    def get(self, key: str) -> tuple[NDArray[np.float32], dict[str, Any]] | None:
        """Return the features and the metadata kept under `key`, None if there are none.

        A file that is damaged, or is not what its name says, is removed and counts as absent.

        Args:
            key: made by `cache_key`.

        Returns:
            Features of shape (n_samples, n_features) in memory of their own, and the metadata as they were put.
        """
        path = self._path(key)
        try:
            return _read(path, key)
        except _damages():
            with suppress(OSError):
                path.unlink()
            return None
        except OSError:  # not there, or not ours to read
            return None

    def put(self, key: str, array: NDArray[np.float32], metadata: Mapping[str, Any]) -> None:
        """Keep features under `key`, in place of what was there.

        Args:
            key: made by `cache_key`.
            array: shape (n_samples, n_features), float32: what `get` returns later is equal to the last bit.
            metadata: JSON values.

        Raises:
            OutputError: the file could not be written; nothing of it is left behind.
        """
        if array.ndim != 2 or array.dtype != np.float32:
            raise ValueError(f"The cache keeps float32 arrays of 2 axes. Got {array.dtype} of {array.ndim} axes.")
        data = _serialised(key, array, metadata)
        path = self._path(key)
        try:
            make_folder(path.parent)
            sweep_parts(self.folder, older_than_seconds=_STALE_SECONDS)
            write_whole(path, [data], self.folder)
        except OSError as error:
            raise not_kept(self.folder, error) from error

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"A cache key needs 16 to 128 hexadecimal digits. Got {key!r}. Make it with cache_key.")
        return self.folder / key[:2] / f"{key}.safetensors"


def _serialised(key: str, array: NDArray[np.float32], metadata: Mapping[str, Any]) -> bytes:
    from safetensors.numpy import save

    features = np.ascontiguousarray(array)
    own = {"key": key, "crc32": f"{zlib.crc32(features.data):08x}", "metadata": json.dumps(dict(metadata))}
    return bytes(save({_TENSOR: features}, metadata=own))


def _read(path: Path, key: str) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Read one file; raises one of `_damages()` if it is not a whole file of this key."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        own = file.metadata() or {}
        part = file.get_slice(_TENSOR)
        if own.get("key") != key or part.get_dtype() != "F32" or len(part.get_shape()) != 2:
            raise ValueError("not a file of this key")
        features = file.get_tensor(_TENSOR)
    if own.get("crc32") != f"{zlib.crc32(features.data):08x}":
        raise ValueError("the array has changed since it was written")
    metadata = json.loads(own["metadata"])
    if not isinstance(metadata, dict):
        raise ValueError("metadata of another kind")
    return features, metadata


def _damages() -> tuple[type[Exception], ...]:
    from safetensors import SafetensorError

    return (SafetensorError, ValueError, KeyError, RecursionError)
