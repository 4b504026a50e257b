"""Draw masks as SVG: the declared mask, the received mask, and their difference."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from attnmask.auditing.expected.layer_masks import LayerMask
from attnmask.compiler.plan import Plan
from attnmask.conventions import BoolArray

ATTENDS, EXTRA, MISSING, NOTHING, INK = "#1d4e89", "#d62839", "#f2a33a", "#eef1f5", "#333b45"
LEGEND = (
    (ATTENDS, "attends"),
    (EXTRA, "attends, and should not"),
    (MISSING, "should attend, and does not"),
    (NOTHING, "does not"),
)
NAMES = ("declared", "received", "difference")


def svg_from_plan(plan: Plan, name: str, item: int = 0, head: int = 0) -> Element:
    """One batch item and head of a plan, queries from top to bottom.

    Args:
        plan: the plan. name: said by what reads the page aloud. item, head: which; an axis of 1 is any.
    """
    return _svg([(_dense(plan, item, head), ATTENDS)], plan.Q, plan.K, name)


def svg_from_difference(mask: LayerMask, name: str, item: int = 0, head: int = 0) -> Element:
    """What is received, with the pairs that differ from what is declared in colours of their own."""
    expected, received = (_dense(plan, item, head) for plan in (mask.expected, mask.received))
    missing = expected & ~received if mask.is_exact else np.zeros_like(expected)
    parts = [(received & expected, ATTENDS), (received & ~expected, EXTRA), (missing, MISSING)]
    return _svg(parts, mask.received.Q, mask.received.K, name)


def worst_item_and_head(mask: LayerMask) -> tuple[int, int]:
    """The batch item and head with the most wrong pairs; of a right mask the last item, which is padded."""
    shape = tuple(max(pair) for pair in zip(mask.expected.shape, mask.received.shape, strict=True))
    expected, received = (np.broadcast_to(plan.to("dense"), shape) for plan in (mask.expected, mask.received))
    wrong = received & ~expected
    if mask.is_exact:
        wrong = wrong | (expected & ~received)
    counts = wrong.sum((2, 3))
    if not counts.any():
        return shape[0] - 1, 0
    item, head = divmod(int(counts.argmax()), shape[1])
    return item, head


def merge_equal_layers(masks: tuple[LayerMask, ...]) -> Iterator[tuple[str, LayerMask]]:
    """Neighbouring layers that attend to the same, as one: their names, and the mask."""
    for _, run in groupby(masks, lambda mask: (mask.expected, mask.received, mask.is_exact)):
        layers = list(run)
        first, last = layers[0].layer or "model", layers[-1].layer
        yield first if len(layers) == 1 else f"{first} to {last} ({len(layers)} alike)", layers[0]


def _dense(plan: Plan, item: int, head: int) -> BoolArray:
    array: BoolArray = plan.to("dense")
    return array[min(item, plan.B - 1), min(head, plan.H - 1)]


def _svg(parts: list[tuple[BoolArray, str]], queries: int, keys: int, name: str) -> Element:
    box = {"viewBox": f"0 0 {keys} {queries}", "role": "img", "aria-label": name, "class": "mask"}
    svg = Element("svg", box | {"xmlns": "http://www.w3.org/2000/svg", "shape-rendering": "crispEdges"})
    SubElement(svg, "rect", {"width": str(keys), "height": str(queries), "fill": NOTHING})
    for pairs, colour in parts:
        if pairs.any():
            SubElement(svg, "path", {"d": "".join(_rectangles(pairs)), "fill": colour})
    # Lines between the cells, so that they can be counted.
    lines = "".join([*(f"M{k} 0V{queries}" for k in range(1, keys)), *(f"M0 {q}H{keys}" for q in range(1, queries))])
    SubElement(svg, "path", {"d": lines, "stroke": "#fff", "stroke-width": "0.06"})
    return svg


def _rectangles(pairs: BoolArray) -> Iterator[str]:
    """The runs of every row."""
    edges = np.diff(np.pad(pairs, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    for row, (starts, stops) in enumerate(zip(edges == 1, edges == -1, strict=True)):
        for start, stop in zip(starts.nonzero()[0], stops.nonzero()[0], strict=True):
            yield f"M{start} {row}h{stop - start}v1h{start - stop}z"
