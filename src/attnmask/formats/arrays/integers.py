"""Array of zeros and ones."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.formats.shared.foreign_arrays import attends_by, read_array, with_four_axes, zeros_and_ones
from attnmask.formats.shared.writing import reasons_against_pairs
from attnmask.mask.arguments import first_element, shown

name = "integers"
summary = "NumPy integers (B, H, Q, K), 1 attends"
WHERE = "lift('integers', array)"


def refusals(plan: Plan, **options: Any) -> list[str]:
    """More pairs than are written out."""
    return reasons_against_pairs(plan)


def lower(plan: Plan, *, dtype: DTypeLike = "int64") -> IntArray:
    """Write every pair down as 0 or 1.

    Args:
        plan: the set.
        dtype: a NumPy integer type.

    Returns:
        NumPy integers (B, H, Q, K), 1 attends; B or H is 1 where the set does not depend on it.

    Raises:
        ArgumentError: another dtype.

    Source: the ``attention_mask`` of Hugging Face transformers, pair by pair.

    >>> import attnmask as am
    >>> am.compile(am.causal(), q=2).to("integers", dtype="uint8")
    array([[[[1, 0],
             [1, 1]]]], dtype=uint8)
    """
    return plan.runs.to_dense().astype(_integer_type(dtype))


def lift(representation: Any, *, polarity: str | None = None) -> Plan:
    """Read an array of zeros and ones.

    In an array of integers 1 attends unless ``polarity`` says otherwise. In an array of floats 1.0 may as well be
    masked out, and zeros alone may be an additive mask of nothing: there ``polarity`` is needed.

    Args:
        representation: 0 and 1, (Q, K) or (B, H, Q, K): nested lists, an array or a tensor.
        polarity: "attends" or "masked_out", what a 1 says.

    Returns:
        A Plan.

    Raises:
        AmbiguousError: floats without a polarity, or three axes.
        ArgumentError: values other than 0 and 1, or other axes.

    Source: 1 attends: Hugging Face transformers; 1 is masked out: torch.nn.MultiheadAttention, TransformerEngine.

    >>> lift([[0, 1], [0, 0]], polarity="masked_out").pairs
    3
    """
    array = read_array(representation, "array")
    ones = _ones(array)
    if polarity is None and array.dtype.kind == "f":
        raise AmbiguousError(
            f"array holds 0.0 and 1.0 as floats ({zeros_and_ones(with_four_axes(array, 'array', WHERE))})",
            where=WHERE,
            fix='say polarity="attends" or polarity="masked_out", what a 1 is; '
            "zeros alone may be an additive mask that masks nothing: lift('additive', array)",
        )
    return plan_from_dense(with_four_axes(attends_by(ones, polarity), "array", WHERE))


def _ones(array: NDArray[Any]) -> BoolArray:
    ones = array == 1
    other = ~(ones | (array == 0))
    if other.any():
        raise ArgumentError(
            f"{first_element(array, other, 'array')}, neither 0 nor 1",
            where=WHERE,
            fix="lift a mask that is added to the scores with lift('additive', array)",
        )
    return ones


def _integer_type(dtype: DTypeLike) -> np.dtype[np.integer[Any]]:
    try:
        integer = np.dtype(dtype)
    except Exception:  # of a person's own object NumPy asks for a dtype, which may raise anything
        integer = np.dtype(object)
    if integer.kind not in "iu":
        raise ArgumentError(
            f"dtype is {shown(dtype)}", where="lower(dtype=)", fix="give a NumPy integer type, as int64"
        )
    return cast(np.dtype[np.integer[Any]], integer)
