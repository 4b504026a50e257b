"""Checks of what people pass to atoms; each returns the usable value or raises one clear error."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import AmbiguousError, ArgumentError, AttnMaskError
from attnmask.mask.frozen_array import FrozenArray, as_array

Choice = TypeVar("Choice", bound=Enum)
LARGEST = np.iinfo(np.int32).max
MOST_BITS_SHOWN, LONGEST_SHOWN = 256, 80
OR_SAY = '; or say polarity="attends" or polarity="masked_out", what a 1 is'


def whole_number(value: Any, name: str, where: str, least: int = 0) -> int:
    """A whole number from ``least`` to 2**31 - 1."""
    if not is_whole(value) or not least <= value <= LARGEST:
        raise ArgumentError(
            f"{name} is {shown(value)}",
            where=f"{where}({name}=)",
            fix=f"give a whole number, {least} or more, below 2**31",
        )
    return int(value)


def positive_number(value: Any, name: str, where: str) -> int:
    """A whole number from 1 to 2**31 - 1."""
    return whole_number(value, name, where, least=1)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of Python or of NumPy; a bool is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value as an error prints it: cut short, since a whole number or a list may have any length."""
    if is_whole(value) and int(value).bit_length() > MOST_BITS_SHOWN:
        return f"a number of {int(value).bit_length():,} bits"
    try:
        text = repr(value)
    except ValueError:  # it holds a number of more digits than Python prints
        return f"a {type(value).__name__} of numbers too long to print"
    except Exception:  # a person's own __repr__, which may raise anything
        return type(value).__name__
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def position_count(value: Any, name: str, where: str) -> int:
    """A whole number of positions, of either sign."""
    if not is_whole(value) or abs(int(value)) > LARGEST:
        raise ArgumentError(
            f"{name} is {shown(value)}", where=where, fix="give a whole number of positions, within 2**31"
        )
    return int(value)


def first_position(value: Any, q: int, k: int, where: str) -> int:
    """An offset at which all positions of queries, and their distances from the keys, are within 2**31."""
    offset = position_count(value, "offset", where)
    if max(offset + q, k - offset) > LARGEST:
        raise ArgumentError(
            f"offset is {offset} with {q} queries and {k} keys", where=where, fix="positions stay within 2**31"
        )
    return offset


def one_of(kind: type[Choice], value: Any, name: str, where: str) -> Choice:
    """A member of an enum, from its value."""
    found = [member for member in kind if isinstance(value, str) and member.value == value]
    if not found:
        names = ", ".join(repr(member.value) for member in kind)
        raise ArgumentError(f"{name} is {shown(value)}", where=f"{where}({name}=)", fix=f"give one of {names}")
    return found[0]


def exactly_one(given: Mapping[str, Any], where: str) -> tuple[str, Any]:
    """Name and value of the one argument that is not None."""
    named = [(name, value) for name, value in given.items() if value is not None]
    if len(named) != 1:
        got = " and ".join(name for name, _ in named) or "none"
        raise ArgumentError(f"got {got}", where=where, fix=f"give exactly one of {', '.join(given)}")
    return named[0]


def lengths_per_item(value: Any, name: str, where: str) -> FrozenArray:
    """Counts of tokens as an int64 array, shape (items,); one number is one item."""
    array = np.atleast_1d(_whole_numbers(value, name, where))
    if array.ndim != 1 or not len(array):
        raise ArgumentError(
            f"{name} has shape {array.shape}", where=f"{where}({name}=)", fix="give one number or a list of them"
        )
    wrong = np.flatnonzero((array < 0) | (array > LARGEST))
    if len(wrong):
        raise ArgumentError(
            f"{name}[{wrong[0]}] is {array[wrong[0]]}",
            where=f"{where}({name}=)",
            fix="counts of tokens are 0 or more, below 2**31",
        )
    return FrozenArray(array)


def ids_per_position(value: Any, name: str, where: str) -> IntArray:
    """Whole numbers per position, shape (B, S), from (S,) or (B, S)."""
    array = np.atleast_1d(_whole_numbers(value, name, where))
    if array.ndim > 2 or not len(np.atleast_2d(array)):
        raise ArgumentError(f"{name} has shape {array.shape}", where=f"{where}({name}=)", fix="give (S,) or (B, S)")
    return np.atleast_2d(array)


def bool_array(value: Any, name: str, where: str, dims: tuple[int, ...]) -> BoolArray:
    """Which pairs attend: a bool array of one of the given numbers of axes, from bools or 0/1 integers."""
    array, place = as_array_checked(value, name, where), f"{where}({name}=)"
    if array.ndim not in dims or 0 in array.shape[:-2]:
        raise ArgumentError(
            f"{name} has shape {array.shape}", where=place, fix=f"give {' or '.join(map(str, dims))} axes"
        )
    if array.dtype.kind == "f" and array.size:
        raise AmbiguousError(
            f"{name} holds floats, which may mean 1 for a pair that attends or 0 for one (an additive mask)",
            where=place,
            fix="give bools or 0/1 integers, 1 attends; lift an additive mask with lift('additive', array)",
        )
    other = (array != 0) & (array != 1)
    if other.any():
        raise ArgumentError(
            f"{first_element(array, other, name)}, neither 0 nor 1", where=place, fix="1 attends, 0 does not"
        )
    return array == 1


def keep_mask(
    value: Any, name: str, where: str, dims: tuple[int, ...] = (1, 2), *, polarity_given: bool | None = None
) -> BoolArray:
    """Which positions hold 1, of a mask that says of each position whether it is a token.

    Bools, integers 0 and 1, and floats of exactly 0.0 and 1.0 are read alike. Floats of 0.0 alone are refused: as a
    mask that is added to the scores they would keep every token, as a mask of tokens none.

    Args:
        value: nested lists, an array of NumPy or JAX, or a tensor of any dtype on any device.
        name: of the argument. where: who asks, for errors. dims: numbers of axes that are taken.
        polarity_given: whether the caller has said what a 1 means, so that zeros alone have one reading; None where
            it cannot be said.

    Returns:
        bool, in the shape of the value.

    Raises:
        ArgumentError: other axes, no items, or a value other than 0 and 1, with where it stands.
        AmbiguousError: floats of 0.0 alone.
    """
    array = _array_at(value, name, where)
    if array.ndim not in dims or 0 in array.shape[:-1]:
        axes = " or ".join({1: "(L,)", 2: "(B, L)"}[count] for count in dims)
        raise ArgumentError(
            f"{name} has shape {array.shape}", where=where, fix=f"give {axes}, B 1 or more, 1 for a token"
        )
    ones = array == 1
    other = ~(ones | (array == 0))
    if other.any():
        raise ArgumentError(
            f"{first_element(array, other, name)}, neither 1 (a token) nor 0 (padding)",
            where=where,
            fix="of a mask added to the scores give mask == 0; weights of tokens are for hf.weighted and hf.pool",
        )
    if array.dtype.kind == "f" and array.size and not ones.any() and not polarity_given:
        raise AmbiguousError(
            f"{name} {array.shape} holds 0.0 alone: no token, or nothing masked if it is to be added to the scores",
            where=where,
            fix="give bools or integers, 1 for a token" + (OR_SAY if polarity_given is False else ""),
        )
    return ones


def first_element(array: NDArray[Any], wanted: BoolArray, name: str) -> str:
    """The first wanted element and where it stands, such as ``array[0, 2] is -3.5``."""
    at = tuple(int(index) for index in np.unravel_index(np.argmax(wanted), wanted.shape))
    index = f"[{', '.join(map(str, at))}]" if at else ""
    return f"{name}{index} is {array[at]:g}"


def flag(value: Any, name: str, where: str) -> bool:
    """True or False, of Python or of NumPy; the text "False" is neither."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(f"{name} is {shown(value)}", where=f"{where}({name}=)", fix="give True or False")
    return bool(cast(Any, value))


def instance_of(kinds: type | tuple[type, ...], value: Any, name: str, where: str, fix: str) -> None:
    """Raise unless a value is of one of the kinds."""
    if not isinstance(value, kinds):
        raise ArgumentError(f"{name} is {type(value).__name__}", where=f"{where}({name}=)", fix=fix)


def as_array_checked(value: Any, name: str, where: str) -> Any:
    """The value as a NumPy array of numbers."""
    return _array_at(value, name, f"{where}({name}=)")


def _array_at(value: Any, name: str, place: str) -> Any:
    try:
        array = as_array(value)
    except AttnMaskError:  # a mask of packed documents says itself what would be lost
        raise
    except Exception as error:  # what is handed in may be anything, and fails in its own ways
        said = str(error).partition("\n")[0]
        raise ArgumentError(f"{name} is no array: {said}", where=place, fix="make all rows equally long") from None
    if array.dtype.kind not in "biuf":
        raise ArgumentError(
            f"{name} holds {array.dtype} values", where=place, fix="give numbers, in rows of one length"
        )
    return array


def _whole_numbers(value: Any, name: str, where: str) -> IntArray:
    array = as_array_checked(value, name, where)
    if array.dtype.kind not in "iu" and array.size:
        raise ArgumentError(f"{name} holds {array.dtype} values", where=f"{where}({name}=)", fix="give whole numbers")
    if array.dtype.kind == "u" and array.size and array.max() > LARGEST:
        raise ArgumentError(f"{name} holds {array.max()}", where=f"{where}({name}=)", fix="stay below 2**31")
    return array.astype(np.int64)
