"""The ``is_causal`` and ``sliding_window`` of a Hugging Face transformers config."""

from __future__ import annotations

from typing import Any, cast

from attnmask.compiler.plan import Plan
from attnmask.compiler.structure.bands import Window, band, band_runs, reasons_against_band
from attnmask.conventions import Align
from attnmask.errors import AmbiguousError, ArgumentError
from attnmask.formats.shared.foreign_arrays import lengths_hinted, read_arguments
from attnmask.formats.shared.window_units import HfPath, hf_from_window, window_from_hf
from attnmask.mask.arguments import one_of

name = "hf_sliding_window"
summary = "dict of a transformers config: is_causal, sliding_window int or None"
WHERE = "lift('hf_sliding_window', config)"


def refusals(plan: Plan, *, path: str | None = None, **options: Any) -> list[str]:
    """Whatever is no causal or symmetric window at the end of the keys; a symmetric one without a path."""
    reasons = reasons_against_band(plan, Align.END)
    sides = _sides(plan)
    if reasons or sides is None:
        return reasons
    left, right = sides
    if right != 0 and left != right:
        reasons.append(f"its window is {sides}, None for no bound: a sliding_window is causal or symmetric")
    elif right and path is None:
        reasons.append(
            "the sliding_window of an encoder keeps as many keys on each side in eager, sdpa and flex attention and "
            "one fewer in flash attention: give path='mask' or path='flash'"
        )
    return reasons


def lower(plan: Plan, *, path: str | None = None) -> dict[str, Any]:
    """Give the two values of the config.

    A causal ``sliding_window=W`` keeps W keys, self included. With ``is_causal=False`` it keeps W on each side in
    eager, sdpa and flex attention and W - 1 in flash attention. Some encoders, ModernBERT and Gemma 3 among them,
    change the number on its way to the mask.

    Args:
        plan: the set; its query rows are the last Q of the keys, as when decoding with a cache.
        path: "mask" (eager, sdpa, flex) or "flash"; needed for an encoder's window alone.

    Returns:
        ``{"is_causal": bool, "sliding_window": int or None}``.

    Raises:
        ArgumentError: another path.

    Source: transformers.masking_utils.sliding_window_overlay and sliding_window_bidirectional_overlay, and
    transformers.modeling_flash_attention_utils, 5.23.

    >>> import attnmask as am
    >>> am.compile(am.causal() & am.window(left=3, right=0), q=8).to("hf_sliding_window")
    {'is_causal': True, 'sliding_window': 4}
    """
    sides = cast(Window, _sides(plan))
    is_causal = sides[1] == 0
    of = one_of(HfPath, path, "path", "lower") if path is not None else HfPath.MASK
    return {"is_causal": is_causal, "sliding_window": hf_from_window(sides, is_causal=is_causal, path=of)}


def lift(representation: Any, *, q: int | None = None, k: int | None = None, path: str | None = None) -> Plan:
    """Read the two values of the config.

    Args:
        representation: dict of ``is_causal``, True if left out, and ``sliding_window``.
        q, k: queries and keys; the queries are the last of the keys.
        path: "mask" (eager, sdpa, flex) or "flash"; needed for an encoder's window alone.

    Returns:
        A Plan.

    Raises:
        AmbiguousError: an encoder's window without a path.
        ArgumentError: other values, or no lengths.

    Source: as ``lower``.

    >>> lift({"is_causal": True, "sliding_window": 2}, q=3, k=3).pairs
    5
    """
    is_causal, sliding_window = read_arguments(representation, ["is_causal", "sliding_window"], WHERE)
    if is_causal not in (None, True, False):
        raise ArgumentError(f"is_causal is {is_causal!r}", where=WHERE, fix="give True or False")
    rows, keys = lengths_hinted(q, k, WHERE)
    if is_causal is False and sliding_window is not None and path is None:
        raise AmbiguousError(
            f"sliding_window is {sliding_window} of an encoder: {sliding_window} keys on each side in eager, sdpa and "
            "flex attention, one fewer in flash attention",
            where=WHERE,
            fix="give path='mask' or path='flash'",
        )
    of = one_of(HfPath, path, "path", "lift") if path is not None else HfPath.MASK
    sides = window_from_hf(sliding_window, is_causal=is_causal is not False, path=of)
    return Plan(band_runs(sides, Align.END, rows, keys), keys - rows)


def _sides(plan: Plan) -> Window | None:
    """The window, of two sides of which one is not seen to end with both the same if that is the same set."""
    sides = band(plan, Align.END)
    if sides is None or sides[1] == 0 or None not in sides:
        return sides
    side = sides[0] if sides[1] is None else sides[1]
    both = band_runs((side, side), Align.END, plan.Q, plan.K)
    return (side, side) if both == plan.runs else sides
