"""Bring arrays of any library to NumPy, and know where they live: on the host, or on a device that can decompose them.

NumPy, torch, CuPy, JAX and whatever speaks the Python array API standard come in; nothing is imported for them that the
caller has not imported already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuralrank.errors import DataError

_ON_HOST = ("cpu", "mps")  # Apple's GPU has no float64: its tensors are worked on here


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where an array lives, and the functions of its library that work there."""

    namespace: Any
    """Of the Python array API standard."""
    place: Any

    def take(self, array: NDArray[np.float64]) -> Any:
        """Copy a NumPy array to the device."""
        return self.namespace.asarray(array, device=self.place)


def device_of(array: object) -> Device | None:
    """Return the device of an array, None if it is on the host (or is no array at all)."""
    if isinstance(array, np.ndarray) or not (_is_tensor(array) or hasattr(array, "__array_namespace__")):
        return None
    from array_api_compat import array_namespace, device

    place = device(array)
    if any(name in str(place).lower() for name in _ON_HOST):
        return None
    return Device(namespace=array_namespace(array), place=place)


def to_numpy(array: Any) -> NDArray[Any]:
    """Return the values as a NumPy array; the caller's own array where it is one, so it must not be written to.

    Raises:
        DataError: they are lists of unlike lengths.
    """
    if isinstance(array, np.ndarray):
        return array
    if _is_tensor(array):
        array = array.detach().cpu()
        if array.is_floating_point() and array.element_size() < 4:
            array = array.float()  # NumPy has no bfloat16
        return np.asarray(array)
    where = device_of(array)
    if where is None:
        return _from_host(array)
    if hasattr(array, "get"):  # CuPy
        return np.asarray(array.get())
    return np.from_dlpack(array, device="cpu", copy=True)


def _from_host(array: Any) -> NDArray[Any]:
    try:
        return np.asarray(array)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise DataError(
            "An array needs rows of one length. Got lists of unlike lengths. Give each sample as many values."
        ) from None


def _is_tensor(array: object) -> bool:
    """Return whether this is a torch tensor, without importing torch."""
    return hasattr(array, "detach") and hasattr(array, "element_size")
