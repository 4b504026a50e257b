"""The Plan: a compiled mask, and the only thing that later stages see.

``compile`` evaluates an expression on given lengths and returns a Plan, which holds the set as Runs, the position of
query row 0, and the expression for explanations. Formats turn a Plan into a library's own form, ``attention`` runs
it, and drawing shows it; none of them looks at the expression to know the set. Two plans are equal iff their sets are
equal. Methods that belong to higher folders (``to``, ``formats``, ``backend_for``) call functions that are registered
by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from attnmask.calls import public
from attnmask.compiler.description import Description, description_from_runs
from attnmask.compiler.difference import Diff, diff_from_runs
from attnmask.compiler.explanation import Explanation, explain
from attnmask.compiler.plan_json import json_from_plan, plan_parts_from_json
from attnmask.compiler.plan_sizes import count_from_argument, offset_from_arguments, sizes_from_arguments
from attnmask.compiler.runs import Runs, runs_from_dense
from attnmask.compiler.runs_from_mask import runs_from_mask
from attnmask.compiler.tiles import Tiles, tiles_from_runs
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.format_names import ArgumentsFormat, FormatName, ObjectFormat, TensorFormat
from attnmask.mask.arguments import is_whole, whole_number
from attnmask.mask.domain import Domain
from attnmask.mask.expression import Mask, atoms_in, mask_instead_of
from attnmask.registered import FUNCTIONS

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True)
class Plan:
    """A set of (query, key) pairs on given lengths.

    Plans are equal iff their sets are: how the mask was written, and the offset at which its queries stand, do
    not count. ``B`` or ``H`` is 1 where the set does not depend on the batch item or the head.

    Attributes:
        runs: the set, in its canonical form.
        offset: position of query row 0.
        mask: the expression the plan was compiled from; None if it was lifted from an array.

    >>> from attnmask.mask.atoms import causal, full, window
    >>> plan = compile(causal() & window(left=1, right=0), q=4)
    >>> plan
    Plan(B=1, H=1, Q=4, K=4, pairs=7, density=0.438, empty_rows=0)
    >>> plan == compile(window(left=1, right=0), q=4)
    True
    """

    runs: Runs
    offset: int = field(default=0, compare=False)
    mask: Mask | None = field(default=None, compare=False)

    @property
    def B(self) -> int:
        """Batch items, 1 where the set does not depend on them."""
        return self.runs.shape[0]

    @property
    def H(self) -> int:
        """Heads, 1 where the set does not depend on them."""
        return self.runs.shape[1]

    @property
    def Q(self) -> int:
        """Query rows."""
        return self.runs.shape[2]

    @property
    def K(self) -> int:
        """Keys."""
        return self.runs.keys

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, H, Q, K)."""
        return (*self.runs.shape, self.runs.keys)

    @property
    def pairs(self) -> int:
        """Pairs that attend, over the shape above: a broadcast axis counts once."""
        return self.runs.pairs

    @property
    def density(self) -> float:
        """Share of pairs that attend, 0 of no pairs."""
        return self.pairs / max(math.prod(self.shape), 1)

    @property
    def empty_rows(self) -> int:
        """Query rows that attend to nothing."""
        return int((self.runs.counts == 0).sum())

    @property
    def nbytes(self) -> int:
        """Bytes that the plan holds."""
        return self.runs.indptr.nbytes + self.runs.starts.nbytes + self.runs.stops.nbytes

    @property
    def nbytes_dense(self) -> int:
        """Bytes of the same set as bools (B, H, Q, K)."""
        return math.prod(self.shape)

    @public
    def flops(self, dim: int) -> int:
        """Floating-point operations of attention over the set, forward: two products of ``dim`` for every pair.

        Args:
            dim: width of a head. A broadcast axis counts once, as in ``pairs``.

        >>> from attnmask.mask.atoms import causal
        >>> compile(causal(), q=4).flops(dim=64)
        2560
        """
        return 4 * whole_number(dim, "dim", "plan.flops") * self.pairs

    @public
    def to_json(self) -> str:
        """The plan as JSON, from which ``Plan.from_json`` makes an equal one; a predicate is left out of its mask."""
        return json_from_plan(self.runs, self.offset, self.mask)

    @staticmethod
    @public
    def from_json(text: str) -> Plan:
        """The plan that ``to_json`` wrote.

        Args:
            text: JSON.

        Raises:
            ArgumentError: the text is no plan of this version, its runs are not in canonical form, or its mask is
                another set.

        >>> from attnmask.mask.atoms import causal
        >>> plan = compile(causal(), q=4)
        >>> Plan.from_json(plan.to_json()) == plan
        True
        """
        plan = Plan(*plan_parts_from_json(text))
        if plan.mask is not None:
            _check_mask(plan, plan.mask)
        return plan

    @public
    def describe(self) -> Description:
        """The set in words, and the shortest expression found that is proved to be equal to it.

        Guesses are read off the set alone and compared with it, so a dense 0/1 array is recognised just as well.

        >>> from attnmask.mask.atoms import causal, window
        >>> tokens = np.tri(6, dtype=bool) & ~np.tri(6, k=-3, dtype=bool)
        >>> plan = plan_from_dense(tokens[None, None])
        >>> plan.describe().mask
        window(left=2, right=0)
        >>> print(plan.describe())
        set:     window(left=2, right=0)
        shape:   B=1, H=1, Q=6, K=6
        pairs:   15 of 36 (41.7%)
        queries: 1 run of keys at most, 0 rows without a key
        keys:    2 masked runs of queries at most
        memory:  76 bytes as a Plan, 36 as bools
        """
        return description_from_runs(self.runs, self.offset, self.mask)

    @cached_property
    def _hash(self) -> int:
        return hash(self.runs)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[Plan], tuple[Runs, int, Mask | None]]:
        # A hash that was computed here is another one in the process that unpickles the plan.
        return Plan, (self.runs, self.offset, self.mask)

    def __repr__(self) -> str:
        sizes = f"B={self.B}, H={self.H}, Q={self.Q}, K={self.K}"
        return f"Plan({sizes}, pairs={self.pairs}, density={self.density:.3f}, empty_rows={self.empty_rows})"

    def __getitem__(self, rows: int | slice) -> Plan:
        """The plan of some consecutive query rows; a number keeps the axis.

        >>> from attnmask.mask.atoms import causal
        >>> compile(causal(), q=4)[2:].shape, compile(causal(), q=4)[-1].pairs
        ((1, 1, 2, 4), 4)
        """
        start, stop = self._row_range(rows)
        row = np.arange(self.B * self.H)[:, None] * self.Q + np.arange(start, stop)
        runs = self.runs.take(row.reshape(-1), (self.B, self.H, stop - start)).collapsed()
        return Plan(runs, self.offset + start, self.mask if (start, stop) == (0, self.Q) else _without_rows(self.mask))

    def __iter__(self) -> Iterator[Plan]:
        """The plan of each query row."""
        return (self[row] for row in range(self.Q))

    def _row_range(self, rows: int | slice) -> tuple[int, int]:
        if isinstance(rows, slice):
            if not all(end is None or is_whole(end) for end in (rows.start, rows.stop)):
                raise ArgumentError(f"rows is {rows}", where="plan[rows]", fix="give whole numbers")
            if not (rows.step is None or (is_whole(rows.step) and rows.step == 1)):
                raise ArgumentError(f"step is {rows.step!r}", where="plan[rows]", fix="take consecutive rows")
            start, stop, _ = rows.indices(self.Q)
            return start, max(start, stop)
        if not is_whole(rows):
            raise ArgumentError(f"rows is {rows!r}", where="plan[rows]", fix="give a row or a slice of rows")
        row = rows + self.Q if rows < 0 else rows
        if not 0 <= row < self.Q:
            raise ArgumentError(f"row {rows} of {self.Q}", where="plan[rows]", fix=f"rows are 0 to {self.Q - 1}")
        return row, row + 1

    @public
    def tiles(self, rows: int = 128, keys: int = 128) -> Tiles:
        """The EMPTY, PARTIAL and FULL tiles.

        Args:
            rows, keys: block size, 1 or more.
        """
        for name, size in (("rows", rows), ("keys", keys)):
            if whole_number(size, name, "plan.tiles") == 0:
                raise ArgumentError(f"{name} is 0", where="plan.tiles", fix="a tile has 1 row and 1 key or more")
        return tiles_from_runs(self.runs, rows, keys)

    @overload
    def to(self, format: Literal["dense", "flax"], **options: Any) -> BoolArray: ...
    @overload
    def to(self, format: Literal["integers"], **options: Any) -> IntArray: ...
    @overload
    def to(self, format: Literal["lists"], **options: Any) -> list[list[int]]: ...
    @overload
    def to(self, format: Literal["flex"], **options: Any) -> BlockMask: ...
    @overload
    def to(self, format: TensorFormat, **options: Any) -> Tensor: ...
    @overload
    def to(self, format: ArgumentsFormat, **options: Any) -> dict[str, Any]: ...
    @overload
    def to(self, format: ObjectFormat, **options: Any) -> Any: ...
    @public
    def to(self, format: FormatName, **options: Any) -> Any:
        """The plan in a library's own form.

        Args:
            format: a name from ``plan.formats()``.
            options: the format's own, as in the signature of ``lower`` in its module.

        Returns:
            What the format's summary says; ``attnmask.formats.summaries()`` lists them.

        Raises:
            CannotExpressError: the form cannot hold this set; lists every reason. Or the memory cannot hold the form.
            ArgumentError: an unknown format or option, or an option of an unusable value.

        >>> from attnmask.mask.atoms import causal
        >>> compile(causal(), q=4).to("sdpa")
        {'attn_mask': None, 'is_causal': True}
        """
        return FUNCTIONS["lower"](self, format, **options)

    @public
    def formats(self) -> dict[str, list[str]]:
        """Which formats can hold the set, and why the others cannot.

        Returns:
            By name every reason why the format refuses the set under its default options; an empty list where it can
            hold it.

        >>> from attnmask.mask.atoms import dilated
        >>> refused = compile(dilated(2), q=4).formats()
        >>> refused["flex"], refused["flashmask"]
        ([], [])
        >>> refused["flash_varlen"]
        ['(b, h, q, k) = (0, 0, 0, 1) does not attend, ...']
        """
        return FUNCTIONS["reasons_by_format"](self)

    @public
    def backend_for(self, q: Any) -> Any:
        """Which backend ``attention`` chooses for queries like these, and why.

        Args:
            q: queries (B, H, Q, D); their device and dtype matter.

        Returns:
            An object with ``name`` and ``why``.

        Raises:
            ArgumentError: ``attention`` would refuse such queries.

        >>> import torch
        >>> from attnmask.mask.atoms import causal
        >>> print(compile(causal(), q=4).backend_for(torch.zeros(1, 1, 4, 8, dtype=torch.float64)))
        tiled (native: tensors are torch.float64, it is written for float32 and bfloat16)
        """
        return FUNCTIONS["backend_for_queries"](q, self)

    @public
    def diff(self, other: Plan) -> Diff:
        """The pairs in which two plans differ; empty, and false, iff they are equal."""
        if not isinstance(other, Plan):
            raise ArgumentError(f"{type(other).__name__} is no plan", where="plan.diff", fix="compile or lift it first")
        return diff_from_runs(self.runs, other.runs)

    @public
    def explain(self, b: int, h: int, q: int, k: int) -> Explanation:
        """Why query row q attends, or does not attend, to key k.

        >>> from attnmask.mask.atoms import causal, window
        >>> print(compile(causal() & window(left=1, right=0), q=4).explain(0, 0, 3, 0))
        query row 3 (position 3) does not attend to key 0 (batch 0, head 0)
          no   and
          yes    causal()
          no     window(left=1, right=0)
        """
        return explain(self.mask, self.runs, self.offset, b, h, q, k)


@public
def compile(
    mask: Mask,
    *,
    q: int,
    k: int | None = None,
    batch: int | None = None,
    heads: int | None = None,
    offset: int | None = None,
    align: str | None = None,
) -> Plan:
    """Compute the set that a mask describes on given lengths.

    Args:
        mask: an expression.
        q: number of query rows.
        k: number of keys; as many as queries if left out.
        batch: batch items; what the mask's own data say if left out, else 1.
        heads: heads; likewise.
        offset: position of query row 0. Needed, or ``align``, where q and k differ.
        align: "start" (query row 0 stands at key 0) or "end" (the last row stands at the last key, as when decoding).

    Returns:
        A Plan.

    Raises:
        AlignmentError: q and k differ and neither offset nor align is given.
        ArgumentError: lengths that do not fit the mask's data.

    >>> from attnmask.mask.atoms import causal
    >>> compile(causal(), q=1, k=5, align="end").pairs
    5
    """
    if not isinstance(mask, Mask):
        raise ArgumentError(f"{type(mask).__name__} is no mask", where="compile", fix=mask_instead_of(mask))
    q = whole_number(q, "q", "compile")
    k = q if k is None else whole_number(k, "k", "compile")
    sizes = sizes_from_arguments(
        mask, {"B": count_from_argument(batch, "batch"), "H": count_from_argument(heads, "heads"), "Q": q, "K": k}
    )
    domain = Domain(**sizes, offset=offset_from_arguments(q, k, offset, align))
    return Plan(runs_from_mask(mask, domain).collapsed(), domain.offset, mask)


def plan_from_dense(array: BoolArray, offset: int = 0) -> Plan:
    """The plan of a bool array (B, H, Q, K)."""
    return Plan(runs_from_dense(array).collapsed(), offset)


def _check_mask(plan: Plan, mask: Mask) -> None:
    """Raise where a plan that was read does not hold the set of its mask."""
    batch, heads = (size if size > 1 else None for size in (plan.B, plan.H))
    if compile(mask, q=plan.Q, k=plan.K, batch=batch, heads=heads, offset=plan.offset) != plan:
        raise ArgumentError(
            "the runs are another set than the mask",
            where="from_json",
            fix='give what to_json wrote, or null as "mask"',
        )


def _without_rows(mask: Mask | None) -> Mask | None:
    """The mask, if it means the same where the query rows are numbered anew."""
    return None if mask is None or any(atom.by_row for atom in atoms_in(mask)) else mask
