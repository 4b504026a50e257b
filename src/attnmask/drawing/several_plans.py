"""Several plans in one figure, such as those of a model's layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnmask.calls import public
from attnmask.compiler import Plan
from attnmask.drawing.figure import INK, MOST_CELLS, MOST_PANELS, draw_legend, draw_panel, new_figure, write_figure
from attnmask.drawing.panels import chosen_items, panels_from_plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INCHES = 2.6


@public
def save_images(plans: Mapping[str, Plan], path: str | Path) -> None:
    """Draw several plans into one PNG, SVG or PDF file: every item and head, up to twelve pictures.

    Args:
        plans: at least one, by the name to draw above it. path: the file; one that exists is replaced.

    Raises:
        ArgumentError: another kind of file, or one that cannot be written.
        AttnMaskError: matplotlib is missing.

    >>> import attnmask as am, tempfile
    >>> plan = am.compile(am.causal(), q=8)
    >>> save_images({"layer 0": plan, "layer 1": plan}, Path(tempfile.mkdtemp(), "layers.png"))
    """
    write_figure(path, lambda: figure_from_plans(plans))


def figure_from_plans(plans: Mapping[str, Plan]) -> Figure:
    """As ``figure_from_plan``, of several."""
    panels = [
        (replace(panel, name=", ".join(filter(None, (name, panel.name)))), plan)
        for name, plan in plans.items()
        for panel in panels_from_plan(plan, chosen_items(plan, None, None), MOST_CELLS // 4)
    ]
    shown, left = panels[:MOST_PANELS], len(panels) - MOST_PANELS
    columns = min(len(shown), 4)
    rows = math.ceil(len(shown) / columns)
    figure = new_figure((INCHES * columns + 0.5, (INCHES + 0.4) * rows + 0.8))
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.remove()
    for number, (panel, plan) in enumerate(shown):
        draw_panel(grid.flat[number], panel, plan)
        grid.flat[number].set_ylabel("query" if number % columns == 0 else "", color=INK)
        grid.flat[number].set_xlabel("key" if number + columns >= len(shown) else "", color=INK)
    draw_legend(figure, shown[0][0], f"{left} more of {len(panels)} are not shown" if left > 0 else "")
    return figure
