"""Call arguments of keras.layers.MultiHeadAttention."""

from __future__ import annotations

from typing import Any

from attnmask.compiler.algebra import intersect
from attnmask.compiler.plan import Plan
from attnmask.compiler.plan import compile as compile_mask
from attnmask.compiler.runs_from_mask import runs_from_mask
from attnmask.compiler.structure.padded_bands import Band, band_from_runs
from attnmask.conventions import Align, BoolArray
from attnmask.errors import ArgumentError
from attnmask.formats.shared.foreign_arrays import at_lengths, lengths_hinted, read_arguments, read_array, read_ones
from attnmask.formats.shared.writing import reasons_against_pairs
from attnmask.mask.arguments import positive_number
from attnmask.mask.atoms import causal, dense, full, padding, window
from attnmask.mask.domain import Domain
from attnmask.mask.expression import Mask

name = "keras"
summary = "dict for keras.layers.MultiHeadAttention: attention_mask bool (B, Q, K), value_mask (B, K), use_causal_mask"
WHERE = "lift('keras', arguments)"
TOKENS = ["query_mask", "value_mask", "key_mask"]


def refusals(plan: Plan, *, sliding_window: int | None = None, **options: Any) -> list[str]:
    """Pairs that the layer's own sliding window takes away from any mask."""
    if reasons := reasons_against_pairs(plan, lambda: _fitting(plan, sliding_window) is not None):
        return reasons
    if sliding_window is None:
        return []
    left_over = intersect([plan.runs, runs_from_mask(_window(sliding_window), _domain(plan))])
    missing = plan.pairs - left_over.pairs
    if not missing:
        return []
    return [
        f"{missing} of {plan.pairs} pairs are {sliding_window} positions or more apart: a layer of "
        f"sliding_window={sliding_window} never lets them attend"
    ]


def lower(plan: Plan, *, sliding_window: int | None = None) -> dict[str, Any]:
    """Give the call arguments that make the layer attend to the set.

    A mask is written out only where the set is not causal, padding of keys, the layer's own window, or these
    together. Keras lines queries and keys up at the first of each. What a row without a key gives depends on the
    path: 0 with ``return_attention_scores`` or dropout, and what the backend's own attention gives without (tested
    on CPU: the mean of the values on JAX).

    Args:
        plan: the set.
        sliding_window: that of the layer, which then masks all pairs of as many positions or more apart by itself.

    Returns:
        ``{"attention_mask": bool (B, Q, K), or (B, H, Q, K) of a set that differs between heads, or None,
        "value_mask": bool (B, K) or None, "use_causal_mask": bool}``, NumPy arrays, True attends; B is 1, and
        broadcasts, where the set does not depend on it. ``query_mask`` is left to Keras, which overwrites one that is
        given by hand.

    Raises:
        ArgumentError: a window that is no positive number.

    Source: keras.layers.MultiHeadAttention of Keras 3.15, https://keras.io/api/layers/attention_layers/
    multi_head_attention/.

    >>> import attnmask as am
    >>> am.compile(am.causal() & am.padding(lengths=[2, 1]), q=2).to("keras")
    {'attention_mask': None, 'value_mask': array([[ True,  True],
           [ True, False]]), 'use_causal_mask': True}
    """
    band = _fitting(plan, sliding_window)
    if band is None:
        attends = plan.runs.to_dense()
        mask = attends if plan.H > 1 else attends[:, 0]
        return {"attention_mask": mask, "value_mask": None, "use_causal_mask": False}
    tokens = None if band.keys is None else band.keys.copy()
    return {"attention_mask": None, "value_mask": tokens, "use_causal_mask": band.right == 0}


def lift(representation: Any, *, q: int | None = None, k: int | None = None, sliding_window: int | None = None) -> Plan:
    """Read the call arguments; a pair attends if all of them let it.

    Args:
        representation: dict of ``attention_mask``, (Q, K), (B, Q, K) or (B, H, Q, K); ``query_mask``, (B, Q);
            ``value_mask`` and ``key_mask``, (B, K); each bools or zeros and ones, of which True or 1 attends, or
            None; and ``use_causal_mask``.
        q, k: queries and keys; needed without ``attention_mask``, else the lengths to which an axis of 1 broadcasts.
        sliding_window: that of the layer.

    Returns:
        A Plan.

    Raises:
        ArgumentError: values other than 0 and 1, such as an additive mask, which Keras would invert; a mask of heads
            beside masks of tokens, of which Keras would take the items for heads; other axes or lengths.

    Source: as ``lower``.

    >>> lift({"use_causal_mask": True}, q=3, k=3, sliding_window=2)
    Plan(B=1, H=1, Q=3, K=3, pairs=5, density=0.556, empty_rows=0)
    """
    given, *tokens, is_causal = read_arguments(representation, ["attention_mask", *TOKENS, "use_causal_mask"], WHERE)
    masks: list[Mask] = [causal() if is_causal else full()]
    masks += [] if sliding_window is None else [_window(sliding_window)]
    of_tokens = {name: _tokens(value, name) for name, value in zip(TOKENS, tokens, strict=True) if value is not None}
    masks += [
        padding(attention_mask=value, of="queries" if name == "query_mask" else "keys")
        for name, value in of_tokens.items()
    ]
    if given is None:
        rows, columns = lengths_hinted(q, k, WHERE)
    else:
        attends = at_lengths(_pairs(given, of_tokens), q, k, "attention_mask", WHERE)
        rows, columns = attends.shape[2:]
        masks.append(dense(attends))
    together = masks[0]
    for mask in masks[1:]:
        together &= mask
    return compile_mask(together, q=rows, k=columns, align=Align.START)


def _fitting(plan: Plan, sliding_window: int | None) -> Band | None:
    """The window and the tokens of a set that needs no more; None of another set."""
    band = band_from_runs(plan.runs)
    return None if band is None or band.queries is not None or not _is_given(band, sliding_window) else band


def _is_given(band: Band, sliding_window: int | None) -> bool:
    """Whether a layer with that window expresses the set by its causal flag alone."""
    left = right = None if sliding_window is None else sliding_window - 1
    return (band.left, band.right) in [(left, right), (left, 0)]


def _window(sliding_window: int) -> Mask:
    reach = positive_number(sliding_window, "sliding_window", "keras") - 1
    return window(reach, reach)


def _domain(plan: Plan) -> Domain:
    return Domain(1, 1, plan.Q, plan.K, 0)


def _tokens(mask: Any, name: str) -> BoolArray:
    attends = read_ones(read_array(mask, name), name, WHERE)
    if attends.ndim != 2 or not len(attends):
        raise ArgumentError(f"{name} has shape {attends.shape}", where=WHERE, fix="give (B, L), B 1 or more")
    return attends


def _pairs(mask: Any, tokens: dict[str, BoolArray]) -> BoolArray:
    attends = read_ones(read_array(mask, "attention_mask"), "attention_mask", WHERE)
    if attends.ndim not in (2, 3, 4) or 0 in attends.shape[:-2]:
        raise ArgumentError(
            f"attention_mask has shape {attends.shape}",
            where=WHERE,
            fix="give (Q, K), (B, Q, K) or (B, H, Q, K), B and H 1 or more",
        )
    several = [name for name, each in tokens.items() if len(each) > 1]
    if attends.ndim == 4 and several:
        raise ArgumentError(
            f"attention_mask has shape {attends.shape}, {several[0]} {tokens[several[0]].shape}: Keras would take the "
            "items of the second for heads of the first",
            where=WHERE,
            fix="give attention_mask alone: attention_mask & value_mask[:, None, None], & query_mask[:, None, :, None]",
        )
    return attends[None, None] if attends.ndim == 2 else attends[:, None] if attends.ndim == 3 else attends
