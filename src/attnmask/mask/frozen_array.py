"""Arrays inside an expression: read-only, compared and hashed by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

SHOWN = 64


class FrozenArray:
    """A read-only NumPy array that is equal to, and hashes like, any array of the same content.

    Args:
        values: anything `numpy.asarray` takes; copied, so that later writes by the owner do not reach it.
    """

    def __init__(self, values: Any) -> None:
        self.values: NDArray[Any] = np.array(values, order="C")
        self.values.flags.writeable = False

    @cached_property
    def _digest(self) -> bytes:
        header = f"{self.values.dtype.str}{self.values.shape}".encode()
        return hashlib.blake2b(header + self.values.tobytes(), digest_size=16).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrozenArray) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __repr__(self) -> str:
        # Nested lists cannot say how long the lists would be that are not there.
        if self.values.size <= SHOWN and 0 not in self.values.shape[:-1]:
            return repr(self.values.astype(int).tolist() if self.values.dtype == bool else self.values.tolist())
        return f"<{self.values.dtype} array {self.values.shape} {self._digest.hex()[:8]}>"

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.values.flags.writeable = False


def as_array(value: Any) -> NDArray[Any]:
    """NumPy view of a list, an array of NumPy or JAX, or a torch tensor of any dtype on any device."""
    if np.ma.is_masked(value):
        raise ValueError("values of this masked array are missing; fill them in first, with its filled(value)")
    if not hasattr(value, "detach"):
        array = np.asarray(value)
        # To NumPy, JAX's bfloat16 is of no kind of number.
        return array.astype(np.float32) if "float" in array.dtype.name and array.dtype.kind != "f" else array
    tensor = value.detach().cpu()
    # NumPy has no bfloat16; float32 holds every value of the narrower formats.
    narrow = tensor.is_floating_point() and tensor.element_size() < 4
    return np.asarray(tensor.float() if narrow else tensor)


def is_ragged(value: Any) -> bool:
    """Whether a value is a sequence of sequences, such as one list of lengths per batch item."""
    if not isinstance(value, list | tuple):
        return getattr(value, "ndim", 0) > 1
    return any(isinstance(item, list | tuple) or getattr(item, "ndim", 0) for item in cast(Iterable[Any], value))
