"""A mask on a part of a longer sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import lengths_per_item, positive_number
from attnmask.mask.domain import Domain, Points
from attnmask.mask.expression import Atom, Mask, parts_of
from attnmask.mask.frozen_array import FrozenArray
from attnmask.mask.reference import attends
from attnmask.mask.tables.lookup_tables import look_up


@dataclass(frozen=True, repr=False)
class Placed(Atom):
    """Its runs are those of its mask, moved: ``compiler/runs_from_mask.py`` moves them."""

    mask: Mask
    at: FrozenArray
    length: int

    def attends(self, at: Points) -> BoolArray:
        start = look_up(self.at.values, at.b)
        q, k = at.q - start, at.k - start
        inside = (q >= 0) & (q < self.length) & (k >= 0) & (k < self.length)
        # Some positions of the mask are asked about in place of those outside of it.
        q, k = np.clip(q, 0, self.length - 1), np.clip(k, 0, self.length - 1)
        return inside & attends(self.mask, replace(at, row=q, q=q, k=k, domain=self.inner_domain(at.domain)))

    def inner_domain(self, domain: Domain) -> Domain:
        """Where the mask itself is evaluated: as many queries as keys, from position 0."""
        return Domain(domain.B, domain.H, self.length, self.length)

    def sizes(self) -> dict[str, int]:
        inner = [atom.sizes() for atom in sized_atoms_in(self.mask)]
        items = [sizes.get("B", 1) for sizes in inner] + [len(self.at.values)]
        heads = [sizes.get("H", 1) for sizes in inner]
        return {"B": max(items), "H": max(heads)}

    def inner(self) -> tuple[Mask, ...]:
        return (self.mask,)

    def arguments(self) -> dict[str, object]:
        return {"mask": self.mask, "at": self.at, "length": self.length}


@public
def placed(mask: Mask, at: int | Sequence[int] | IntArray, length: int) -> Mask:
    """A mask holds on a part of the sequence; attends iff q and k are in it, and mask attends at (q - at, k - at).

    Both axes move, where ``mask.shift(n)`` moves queries alone. The part is as a sequence of its own, of ``length``
    queries and keys: what is laid out from position 0, counted by row or from the end, is so within the part. Outside
    of it nothing attends. An image inside text is ``causal() | placed(grid(...), at=5, length=height * width)``.

    Args:
        mask: an expression.
        at: position at which the part begins, one number or shape (B,).
        length: positions of the part, 1 or more.

    Returns:
        A mask.

    Raises:
        ArgumentError: no mask, positions or a length that are no such numbers, or data of another length.

    Source: attnmask.

    >>> from attnmask.mask.atoms import causal
    >>> from attnmask.mask.reference import grid
    >>> print(grid(placed(causal(), at=1, length=2), q=4))
    0 0 0 0
    0 1 0 0
    0 1 1 0
    0 0 0 0
    """
    if not isinstance(mask, Mask):
        raise ArgumentError(f"mask is {mask!r}", where="placed(mask=)", fix="give a mask, such as grid(2, 3, 1)")
    found = Placed(mask, lengths_per_item(at, "at", "placed"), positive_number(length, "length", "placed"))
    _check_sizes(found)
    return found


def sized_atoms_in(mask: Mask) -> list[Atom]:
    """The atoms whose data speak about the lengths of the whole: those of a placed mask speak about its part."""
    if isinstance(mask, Placed):
        return [mask]
    own = [mask] if isinstance(mask, Atom) else []
    return own + [atom for part in parts_of(mask) for atom in sized_atoms_in(part)]


def _check_sizes(mask: Placed) -> None:
    fixed = {"Q": mask.length, "K": mask.length, "B": mask.sizes()["B"], "H": mask.sizes()["H"]}
    sizes = [atom.sizes() for atom in sized_atoms_in(mask.mask)] + [{"B": len(mask.at.values)}]
    for axis, size in ((axis, size) for one in sizes for axis, size in one.items()):
        if size != fixed[axis] and not (size == 1 and axis in "BH"):
            raise ArgumentError(
                f"the data of the mask have {axis}={size}, the part has {axis}={fixed[axis]}",
                where="placed",
                fix="make them agree",
            )
    least = max((n for atom in sized_atoms_in(mask.mask) for n in atom.least_sizes().values()), default=0)
    if least > mask.length:
        what = f"the mask speaks of {least} tokens, the part has {mask.length}"
        raise ArgumentError(what, where="placed(length=)", fix=f"give length={least} or more, or fix the lengths")
