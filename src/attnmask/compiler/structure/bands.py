"""Sets that are one window for all items and heads, aligned at the first or the last query and key."""

from __future__ import annotations

from attnmask.compiler.difference import diff_from_runs
from attnmask.compiler.plan import Plan
from attnmask.compiler.runs import Runs
from attnmask.compiler.runs_from_mask import runs_from_mask
from attnmask.compiler.structure.facts import is_full, window_sides
from attnmask.conventions import Align, offset_from_align
from attnmask.mask.atoms import window
from attnmask.mask.domain import Domain

Window = tuple[int | None, int | None]


def band(plan: Plan, align: Align) -> Window | None:
    """The (left, right) of the window that the set is, None for no bound; None if it is no window."""
    if is_full(plan.runs):
        return None, None
    sides = window_sides(plan.runs, offset_from_align(align, plan.Q, plan.K))
    # The last key ends the only row, whatever its right side is: what decodes with a window is causal.
    return (sides[0], 0) if sides and plan.Q == 1 and align is Align.END else sides


def band_runs(side: Window, align: Align, queries: int, keys: int) -> Runs:
    """The set of a window."""
    return runs_from_mask(window(*side), Domain(1, 1, queries, keys, offset_from_align(align, queries, keys)))


def reasons_against_band(plan: Plan, align: Align) -> list[str]:
    """Every reason why a plan is no window."""
    reasons = [
        f"it differs between its {size} {things}" for size, things in ((plan.B, "items"), (plan.H, "heads")) if size > 1
    ]
    if not reasons and band(plan, align) is None:
        corner = "first" if align is Align.START else "last"
        reasons.append(f"it is no window around the diagonal through the {corner} query and key{_example(plan, align)}")
    return reasons


def _example(plan: Plan, align: Align) -> str:
    other = Align.END if align is Align.START else Align.START
    sides = band(plan, other)
    if sides is not None:
        return f", though {sides} around the other one, None for no bound"
    wide = band_runs((plan.K, plan.Q), align, plan.Q, plan.K)
    pair = diff_from_runs(wide, plan.runs).first_left
    return f": (b, h, q, k) = {pair} does not attend" if pair else ""
