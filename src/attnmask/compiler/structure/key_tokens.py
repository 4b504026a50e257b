"""Sets that are padding of keys, alone or with a decoder's causal mask."""

from __future__ import annotations

import numpy as np

from attnmask.compiler.algebra import intersect
from attnmask.compiler.difference import diff_from_runs
from attnmask.compiler.plan import Plan
from attnmask.compiler.plan import compile as compile_mask
from attnmask.compiler.runs import Runs
from attnmask.compiler.runs_from_mask import runs_from_mask
from attnmask.conventions import Align, BoolArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import whole_number
from attnmask.mask.atoms import causal as causal_mask
from attnmask.mask.atoms import padding
from attnmask.mask.domain import Domain


def reasons_against_tokens(plan: Plan, causal: bool) -> list[str]:
    """What keeps the set from being padding, or with ``causal`` a causal mask of padding."""
    if plan.Q == 0:
        return ["it has no query row to read the keys off"]
    reasons = [f"it differs between its {plan.H} heads"] if plan.H > 1 else []
    if causal and plan.Q > plan.K:
        reasons.append(f"it has {plan.Q} queries and {plan.K} keys: the queries of a decoder are its last keys")
    row = _first_other_row(plan, causal)
    if row is not None:
        difference = diff_from_runs(plan.runs.between(row, row + 1), _expected(plan, row, causal))
        attends = difference.first_left is not None
        pair = difference.first_left or difference.first_right
        assert pair is not None
        item, q = divmod(row, plan.Q)
        reasons.append(_row_reason(plan, (*divmod(item, plan.H), q, pair[3]), attends=attends, causal=causal))
    return reasons


def tokens_of(plan: Plan) -> BoolArray:
    """Which keys are tokens, bool (B, K), of a plan without reasons against it."""
    return plan[-1].runs.to_dense()[:, 0, 0]


def plan_from_tokens(keys: BoolArray, causal: bool, q: int | None, where: str) -> Plan:
    """The plan of tokens, bool (B, K), whose queries are the last q of the keys."""
    rows = keys.shape[1] if q is None else whole_number(q, "q", "lift")
    tokens = padding(attention_mask=keys)
    if causal and rows > keys.shape[1]:
        raise ArgumentError(
            f"q is {rows}, the mask has {keys.shape[1]} keys", where=where, fix="a decoder's queries are its last keys"
        )
    mask = causal_mask() & tokens if causal else tokens
    return compile_mask(mask, q=rows, k=keys.shape[1], align=Align.END)


def _row_reason(plan: Plan, pair: tuple[int, int, int, int], *, attends: bool, causal: bool) -> str:
    if causal:
        would = "would not attend" if attends else "would attend"
        return f"it is not causal() & padding: with the keys of the last row, (b, h, q, k) = {pair} {would}"
    has, last = ("attends", "does not") if attends else ("does not attend", "does")
    b, h, _, k = pair
    reason = f"query rows see different keys: (b, h, q, k) = {pair} {has}, {(b, h, plan.Q - 1, k)} {last}"
    decoder = (
        ""
        if reasons_against_tokens(plan, causal=True)
        else "; causal=True is for a decoder, which adds causality itself"
    )
    return reason + decoder


def _first_other_row(plan: Plan, causal: bool) -> int | None:
    """The first row, of all items and heads, that is not the last one of its item, cut at itself if causal."""
    runs, last = plan.runs, plan[-1].runs.broadcast_to((*plan.runs.shape[:2], 1))
    item = np.arange(runs.rows) // plan.Q
    # Of the runs of the last row, laid end to end, a row has the first so many.
    before, after = last.indptr[item], last.indptr[item + 1]
    stop = np.arange(runs.rows) % plan.Q + plan.K - plan.Q + 1 if causal else np.full(runs.rows, plan.K)
    apart = plan.K + 1
    line = last.row_of_run * apart + last.starts
    counts = np.searchsorted(line, item * apart + np.maximum(stop, 0), side="left") - before
    differs = runs.counts != np.minimum(counts, after - before)
    same = np.flatnonzero(~differs[runs.row_of_run])
    row = runs.row_of_run[same]
    place = same - runs.indptr[row] + before[row]
    stops = np.minimum(last.stops[place], stop[row])
    differs[row[(runs.starts[same] != last.starts[place]) | (runs.stops[same] != stops)]] = True
    return int(differs.argmax()) if differs.any() else None


def _expected(plan: Plan, row: int, causal: bool) -> Runs:
    """What one row of such a set would attend to."""
    # The last row of a causal mask sees every token too: if the set can be expressed, the keys are that row.
    last = plan[-1].runs.broadcast_to((*plan.runs.shape[:2], 1))
    tokens = last.between(row // plan.Q, row // plan.Q + 1)
    domain = Domain(1, 1, 1, plan.K, plan.K - plan.Q + row % plan.Q)
    return intersect([runs_from_mask(causal_mask(), domain), tokens]) if causal else tokens
