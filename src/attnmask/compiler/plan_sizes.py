"""The lengths and the offset of a plan, from the arguments of ``compile`` and the data of its mask."""

from __future__ import annotations

from attnmask.conventions import Align, offset_from_align
from attnmask.errors import AlignmentError, ArgumentError
from attnmask.mask.arguments import first_position, one_of, whole_number
from attnmask.mask.atoms.layouts.placement import sized_atoms_in
from attnmask.mask.expression import Mask

ARGUMENTS = {"B": "batch", "H": "heads", "Q": "q", "K": "k"}


def offset_from_arguments(q: int, k: int, offset: int | None, align: str | None) -> int:
    """The position of query row 0, from ``offset`` or ``align``; 0 where queries and keys are as many."""
    if offset is not None and align is not None:
        raise ArgumentError("got offset and align", where="compile", fix="give one of them")
    if align is not None:
        return offset_from_align(one_of(Align, align, "align", "compile"), q, k)
    if offset is not None:
        return first_position(offset, q, k, "compile(offset=)")
    if q != k:
        raise AlignmentError(
            f"{q} queries and {k} keys, and nothing says how they line up",
            where="compile",
            fix='align="start": query row 0 stands at key 0 (torch is_causal, cross-attention); '
            'align="end": the last row stands at the last key (decoding with a cache, flash-attention); '
            "or offset=n: query row i stands at position i + n",
        )
    return 0


def count_from_argument(value: int | None, name: str) -> int | None:
    """A number of batch items or heads, checked; None if it is left out."""
    if value is not None and whole_number(value, name, "compile") == 0:
        raise ArgumentError(f"{name} is 0", where=f"compile({name}=)", fix="give 1 or more, or leave it out")
    return value


def sizes_from_arguments(mask: Mask, given: dict[str, int | None]) -> dict[str, int]:
    """Lengths B, H, Q, K: those that are given, else what the mask's data say, else 1."""
    sizes = dict(given)
    for atom in sized_atoms_in(mask):
        for axis, size in atom.sizes().items():
            broadcasts = size == 1 and axis in "BH"
            if sizes[axis] is None and not broadcasts:
                sizes[axis] = size
            elif not broadcasts and size != sizes[axis]:
                raise ArgumentError(
                    f"the data have {axis}={size}, the plan has {axis}={sizes[axis]}",
                    where=repr(atom),
                    fix=f"compile with {ARGUMENTS[axis]}={size}, or fix the data",
                )
    found = {axis: 1 if size is None else int(size) for axis, size in sizes.items()}
    _check_least_sizes(mask, found)
    return found


def _check_least_sizes(mask: Mask, sizes: dict[str, int]) -> None:
    """Raise where data of the mask speak of more tokens than the plan has."""
    for atom in sized_atoms_in(mask):
        for axis, least in atom.least_sizes().items():
            if least > sizes[axis]:
                raise ArgumentError(
                    f"a length of {least}, the plan has {axis}={sizes[axis]}",
                    where=repr(atom),
                    fix=f"compile with {ARGUMENTS[axis]}={least} or more, or fix the lengths",
                )
