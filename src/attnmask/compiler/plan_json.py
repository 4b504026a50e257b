"""Plans as JSON, and back, exactly."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, cast

import numpy as np

from attnmask.compiler.runs import Runs, Shape, runs_from_counts
from attnmask.conventions import IntArray
from attnmask.errors import ArgumentError
from attnmask.mask.arguments import first_position, is_whole, lengths_per_item, shown, whole_number
from attnmask.mask.expression import Mask
from attnmask.mask.mask_json import VERSION, document_from_json, mask_from_node, node_from_mask

WHERE = "from_json"
NAMES = {"shape", "keys", "offset", "counts", "starts", "stops", "mask"}


def json_from_plan(runs: Runs, offset: int, mask: Mask | None) -> str:
    """Write the parts of a plan; ``"mask"`` is null where there is none, or it holds a function."""
    return json.dumps(
        {
            "attnmask": VERSION,
            "shape": list(runs.shape),
            "keys": runs.keys,
            "offset": offset,
            "counts": runs.counts.tolist(),
            "starts": runs.starts.tolist(),
            "stops": runs.stops.tolist(),
            "mask": _node(mask),
        }
    )


def plan_parts_from_json(text: str) -> tuple[Runs, int, Mask | None]:
    """Read them, and check that the runs are in their canonical form."""
    document = document_from_json(text, NAMES)
    mask = None if document["mask"] is None else mask_from_node(document["mask"])
    runs = _runs(document)
    return runs, first_position(document["offset"], runs.shape[2], runs.keys, WHERE), mask


def _node(mask: Mask | None) -> dict[str, Any] | None:
    try:
        return None if mask is None else node_from_mask(mask)
    except ArgumentError:
        return None


def _runs(document: dict[str, Any]) -> Runs:
    shape, keys = _shape(document["shape"]), whole_number(document["keys"], "keys", WHERE)
    counts, starts, stops = (_numbers(document[name], name) for name in ("counts", "starts", "stops"))
    if len(counts) != math.prod(shape) or not int(counts.sum()) == len(starts) == len(stops):
        _refuse("counts, starts and stops do not fit the shape", "give a count for each row, two bounds for each run")
    indptr = np.append(0, np.cumsum(counts))
    first_of_row = np.isin(np.arange(len(starts)), indptr[:-1])
    before = np.where(first_of_row, -1, np.append(-1, stops[:-1])[: len(stops)])
    if (starts <= before).any() or (stops <= starts).any() or (stops > keys).any():
        _refuse("the runs of a row are not in order, touch or leave the keys", "give what to_json wrote")
    return runs_from_counts(shape, keys, counts, starts, stops).collapsed()


def _shape(value: Any) -> Shape:
    sizes = cast(list[Any], value) if isinstance(value, list) else []
    if len(sizes) != 3 or not all(is_whole(size) and size >= 0 for size in sizes) or 0 in sizes[:2]:
        _refuse(f"shape is {shown(value)}", "give [B, H, Q]")
    b, h, q = sizes
    return b, h, q


def _numbers(value: Any, name: str) -> IntArray:
    if value == []:
        return np.zeros(0, dtype=np.int64)
    if not isinstance(value, list):
        _refuse(f"{name} is {type(value).__name__}", "give a list of numbers")
    return lengths_per_item(value, name, WHERE).values


def _refuse(what: str, fix: str) -> NoReturn:
    raise ArgumentError(what, where=WHERE, fix=fix)
