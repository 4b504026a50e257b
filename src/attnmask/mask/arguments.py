"""Checks of what people pass to atoms; each returns the usable value or raises one clear error."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

import numpy as np

from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.mask.frozen import FrozenArray, as_array

Choice = TypeVar("Choice", bound=Enum)
LARGEST = np.iinfo(np.int32).max
MOST_BITS_SHOWN, LONGEST_SHOWN = 256, 80


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
    if abs(offset) + max(q, k) > LARGEST:
        raise ArgumentError(
            f"offset is {offset} with {q} queries and {k} keys", where=where, fix="positions stay within 2**31"
        )
    return offset


def one_of(kind: type[Choice], value: Any, name: str, where: str) -> Choice:
    """A member of an enum, from its value."""
    try:
        return kind(value)
    except ValueError:
        names = ", ".join(repr(member.value) for member in kind)
        raise ArgumentError(
            f"{name} is {shown(value)}", where=f"{where}({name}=)", fix=f"give one of {names}"
        ) from None


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
    if array.ndim > 2:
        raise ArgumentError(f"{name} has shape {array.shape}", where=f"{where}({name}=)", fix="give (S,) or (B, S)")
    return np.atleast_2d(array)


def bool_array(value: Any, name: str, where: str, dims: tuple[int, ...]) -> BoolArray:
    """A bool array of one of the given numbers of axes, from bools or 0/1 integers."""
    array, place = as_array_checked(value, name, where), f"{where}({name}=)"
    if array.ndim not in dims or 0 in array.shape[:-2]:
        raise ArgumentError(
            f"{name} has shape {array.shape}", where=place, fix=f"give {' or '.join(map(str, dims))} axes"
        )
    if array.dtype.kind == "f" and array.size:
        raise AmbiguousError(
            f"{name} holds floats, which may mean 1 for a token or 0 for a token (an additive mask)",
            where=place,
            fix="give bools or 0/1 integers, 1 attends; lift an additive mask with lift('additive', array)",
        )
    if (array.size and array.dtype.kind not in "biu") or not np.isin(array, (0, 1)).all():
        raise ArgumentError(f"{name} holds values other than 0 and 1", where=place, fix="1 attends, 0 does not")
    return array.astype(bool)


def as_array_checked(value: Any, name: str, where: str) -> Any:
    """The value as a NumPy array of numbers."""
    try:
        array = as_array(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArgumentError(
            f"{name} is no array: {error}", where=f"{where}({name}=)", fix="make all rows equally long"
        ) from None
    if array.dtype.kind not in "biuf":
        raise ArgumentError(
            f"{name} holds {array.dtype} values", where=f"{where}({name}=)", fix="give numbers, in rows of one length"
        )
    return array


def _whole_numbers(value: Any, name: str, where: str) -> IntArray:
    array = as_array_checked(value, name, where)
    if array.dtype.kind not in "iu" and array.size:
        raise ArgumentError(f"{name} holds {array.dtype} values", where=f"{where}({name}=)", fix="give whole numbers")
    if array.dtype.kind == "u" and array.size and array.max() > LARGEST:
        raise ArgumentError(f"{name} holds {array.max()}", where=f"{where}({name}=)", fix="stay below 2**31")
    return array.astype(np.int64)
