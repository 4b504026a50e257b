"""Reading other libraries' arrays without a guess; in everything returned True attends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from attnmask.compiler.plan import Plan, plan_from_dense
from attnmask.compiler.runs import check_pair_count
from attnmask.conventions import BoolArray, IntArray, attends_from_masked_out
from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.mask.arguments import as_array_checked, first_element, is_whole, one_of, shown, whole_number
from attnmask.mask.tables.lookup_tables import MOST_ROWS

# exp underflows to 0 below -104 in float32 and -745 in float64: the rest is room for the scores themselves.
MASKS_FROM = -1000


def read_array(value: Any, name: str) -> NDArray[Any]:
    """A NumPy array of nested lists, of an array, or of a tensor of any dtype, strides and device."""
    return as_array_checked(value, name, "lift")


def with_four_axes(array: NDArray[Any], name: str, where: str) -> NDArray[Any]:
    """An array (B, H, Q, K), from (Q, K) or four axes."""
    if array.ndim == 3:
        raise AmbiguousError(
            f"{name} has shape {array.shape}: the first axis may be the batch or the heads",
            where=where,
            fix=f"give four axes: {name}[:, None] is (B, 1, Q, K), {name}[None] is (1, H, Q, K)",
        )
    if array.ndim not in (2, 4) or 0 in array.shape[:-2]:
        raise ArgumentError(
            f"{name} has shape {array.shape}", where=where, fix="give (Q, K) or (B, H, Q, K), B and H 1 or more"
        )
    return array[None, None] if array.ndim == 2 else array


def with_leading_axes(array: NDArray[Any], name: str, where: str) -> NDArray[Any]:
    """An array (B, H, Q, K), from (Q, K), (H, Q, K) or four axes, for libraries that broadcast from the right."""
    if array.ndim not in (2, 3, 4) or 0 in array.shape[:-2]:
        raise ArgumentError(
            f"{name} has shape {array.shape}",
            where=where,
            fix="give (Q, K), (H, Q, K) or (B, H, Q, K), B and H 1 or more",
        )
    return array.reshape((1,) * (4 - array.ndim) + array.shape)


def plan_from_bools(value: Any, where: str) -> Plan:
    """The plan of bools (Q, K) or (B, H, Q, K), True attends."""
    array = read_array(value, "array")
    if array.dtype.kind != "b":
        raise ArgumentError(
            f"array holds {array.dtype} values",
            where=where,
            fix="lift 0/1 integers with lift('integers', ...), an additive mask with lift('additive', ...)",
        )
    return plan_from_dense(with_four_axes(array, "array", where))


def at_lengths(attends: BoolArray, q: int | None, k: int | None, name: str, where: str) -> BoolArray:
    """An array (B, H, Q, K) written out to the given lengths, where its own axis is 1."""
    own = attends.shape[2], attends.shape[3]
    given = [whole_number(n, axis, "lift") if n is not None else None for axis, n in (("q", q), ("k", k))]
    wanted = [length if hint is None else hint for length, hint in zip(own, given, strict=True)]
    if any(length not in (1, hint) for length, hint in zip(own, wanted, strict=True)):
        raise ArgumentError(
            f"{name} has (Q, K) = {own}, the hints say {tuple(wanted)}", where=where, fix="make them agree"
        )
    shape = (*attends.shape[:2], *wanted)
    check_pair_count(math.prod(shape))
    return np.broadcast_to(attends, shape)


def lengths_hinted(q: int | None, k: int | None, where: str) -> tuple[int, int]:
    """The lengths that an absent mask does not hold."""
    if q is None or k is None:
        raise ArgumentError(
            "there is no mask to read the lengths off", where=where, fix="give q= and k=, the queries and keys"
        )
    return whole_number(q, "q", "lift"), whole_number(k, "k", "lift")


def read_arguments(representation: Any, names: Sequence[str], where: str) -> list[Any]:
    """The values of keyword arguments given as a dict, None for one left out."""
    if not isinstance(representation, Mapping):
        raise ArgumentError(
            f"the representation is {type(representation).__name__}",
            where=where,
            fix=f"give the keyword arguments as a dict of {', '.join(names)}",
        )
    given = cast(Mapping[Any, Any], representation)
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ArgumentError(f"unknown argument {unknown[0]!r}", where=where, fix=f"give {' and '.join(names)} alone")
    return [given.get(name) for name in names]


def attends_or_added(array: NDArray[Any], name: str, where: str, masked: Any = None) -> BoolArray:
    """The bools themselves, or what a float mask that is added to the scores lets attend."""
    if array.dtype.kind not in "bf":
        raise ArgumentError(
            f"{name} holds {array.dtype} values", where=where, fix="give bools, or floats that are added to the scores"
        )
    if array.dtype.kind == "b" and masked is not None:
        raise ArgumentError("masked is not used with bools", where=where, fix="leave masked out")
    return array if array.dtype.kind == "b" else attends_from_additive(array, name, where, masked)


def attends_from_additive(array: NDArray[Any], name: str, where: str, masked: Any = None) -> BoolArray:
    """What a float mask that is added to the scores lets attend.

    0 attends and -1000 or less, as far as -inf, does not. An array of zeros lets everything attend: whoever calls
    this has said that the mask is additive. An array of 0 and 1 is refused all the same, for 1 masks nothing.
    Where the caller names the constant of the mask, ``masked``, that one and no other number does not attend.
    """
    if array.dtype.kind != "f":
        raise ArgumentError(
            f"{name} holds {array.dtype} values",
            where=where,
            fix="an additive mask holds floats; lift bools with lift('dense', ...), "
            "0/1 integers with lift('integers', ...)",
        )
    attends = array == 0
    constant = None if masked is None else _constant(masked, array, where)
    neither = ~(attends | (array <= MASKS_FROM if constant is None else array == constant))
    if not neither.any():
        return attends
    if np.isin(array, (0, 1)).all():
        raise AmbiguousError(
            f"{name} holds only 0.0 and 1.0 ({zeros_and_ones(array)}): a mask of zeros and ones, or a bias that "
            "masks nothing",
            where=where,
            fix="lift zeros and ones with lift('integers', array, polarity=), which says what a 1 is",
        )
    first = first_element(array, neither, name)
    if constant is not None:
        fix = "a mask holds two values, 0 and masked; separate a bias from the mask"
        raise ArgumentError(f"{first}, neither 0 (attends) nor {constant:g} (masked=)", where=where, fix=fix)
    raise ArgumentError(
        f"{first}, neither 0 (attends) nor {MASKS_FROM} or less (masked out)",
        where=where,
        fix=_fix_of_other_values(array[neither]),
    )


def _constant(masked: Any, array: NDArray[Any], where: str) -> float:
    """The number that does not attend, as the dtype of the array holds it."""
    number = float(masked) if is_whole(masked) or isinstance(masked, float) else np.nan
    with np.errstate(over="ignore", under="ignore"):
        constant = float(np.asarray(number).astype(array.dtype))
    if not constant < 0:
        raise ArgumentError(
            f"masked is {masked!r}", where=f"{where}, masked=", fix="give the negative number that masks, as -100.0"
        )
    return constant


def _fix_of_other_values(values: NDArray[Any]) -> str:
    """What to do about values that are no mask by themselves: one negative number may be its constant."""
    bias = "separate the bias from the mask: a set of pairs holds no bias"
    if not (values[0] < 0 and (values == values[0]).all()):
        return bias
    return f"if this number masks (-100 does in Swin), lift('additive', array, masked={values[0]:g}); else {bias}"


class Polarity(StrEnum):
    """What a 1, or True, says of a pair or of a key."""

    ATTENDS = "attends"
    MASKED_OUT = "masked_out"


def attends_by(ones: BoolArray, polarity: str | None) -> BoolArray:
    """What attends where a 1 says what ``polarity`` does; None is "attends"."""
    given = Polarity.ATTENDS if polarity is None else one_of(Polarity, polarity, "polarity", "lift")
    return ones if given is Polarity.ATTENDS else attends_from_masked_out(ones)


def read_ones(array: NDArray[Any], name: str, where: str) -> BoolArray:
    """Which pairs attend, from bools or from zeros and ones of a library in which 1 attends."""
    ones = array == 1
    other = ~(ones | (array == 0))
    if other.any():
        raise ArgumentError(
            f"{first_element(array, other, name)}, neither 0 nor 1",
            where=where,
            fix="the library takes every number but 0 for a pair that attends: give bools, True attends",
        )
    return ones


def zeros_and_ones(array: NDArray[Any]) -> str:
    """What may tell a reader of zeros and ones, pairs (..., Q, K) or keys (B, K), which of the two attends."""
    if not array.size:
        return "it is empty"
    share = f"{np.count_nonzero(array) / array.size:.0%} are 1"
    square = array.ndim > 1 and array.shape[-2] == array.shape[-1]
    diagonal = [f"the diagonal is {_named(np.diagonal(array, axis1=-2, axis2=-1))}"] if square else []
    return ", ".join([share, *diagonal, f"the last column is {_named(array[..., -1])}"])


def _named(values: NDArray[Any]) -> str:
    return "all 1" if values.all() else "mixed" if values.any() else "all 0"


def read_bounds(value: Any, name: str, where: str) -> IntArray:
    """Where sequences begin and the last one ends, int64 (N + 1,): 0 first, never falling."""
    bounds = np.atleast_1d(read_array(value, name))
    if bounds.dtype.kind not in "iu" or bounds.ndim != 1 or not len(bounds):
        raise ArgumentError(
            f"{name} holds {bounds.dtype} values in shape {bounds.shape}",
            where=where,
            fix="give integers (N + 1,): 0, then where each sequence ends",
        )
    if bounds[0] != 0 or (np.diff(bounds.astype(np.int64)) < 0).any() or bounds[-1] > MOST_ROWS:
        fix = f"begin with 0, never fall, and end at {MOST_ROWS:,} or before"
        raise ArgumentError(f"{name} is {shown(bounds.tolist())}", where=where, fix=fix)
    return bounds.astype(np.int64)


def read_window(value: Any, name: str, where: str) -> tuple[int | None, int | None]:
    """The two sides of a window of which -1 is no bound."""
    sides = cast(Sequence[Any], value) if isinstance(value, Sequence) else ()
    if len(sides) != 2 or not all(is_whole(side) and side >= -1 for side in sides):
        raise ArgumentError(f"{name} is {value!r}", where=where, fix="give (left, right), -1 for no bound")
    left, right = (None if side == -1 else int(side) for side in sides)
    return left, right
