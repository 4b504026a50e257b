"""A plan as a figure, with matplotlib, which is imported only when a figure is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnmask.calls import public
from attnmask.compiler import Plan
from attnmask.drawing.panels import Panel, chosen_items, not_shown, panels_from_plan, share, tile_size
from attnmask.errors import ArgumentError
from attnmask.escapes import escaped
from attnmask.files import import_figure, picture_suffix, whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NONE, SOME, ALL, INK = "#eef1f5", "#a8b3c1", "#1d4e89", "#333b45"
MOST_PANELS = 12
MOST_CELLS = 512
MOST_CELLS_WITH_GRID = 40
NARROWEST = 4.0
DPI = 200


@public
def figure_from_plan(plan: Plan, *, batch: int | None = None, head: int | None = None) -> Figure:
    """Draw a plan as a matplotlib figure: queries from top to bottom, keys from left to right.

    Up to 512 queries and keys every pair is a square; beyond, a square is a tile of pairs, grey where only some
    of them attend.

    Args:
        plan: the plan.
        batch, head: which item and head; all, up to twelve small pictures, if left out.

    Returns:
        A figure that belongs to no window; ``figure.savefig`` writes it.

    Raises:
        ArgumentError: there is no such item or head.
        AttnMaskError: matplotlib is missing.

    >>> import attnmask as am
    >>> len(figure_from_plan(am.compile(am.causal() & am.prefix([1, 2, 3]), q=8)).axes)
    3
    """
    items = chosen_items(plan, batch, head)
    count = min(len(items), MOST_PANELS)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = MOST_CELLS // columns
    panels = panels_from_plan(plan, items[:MOST_PANELS], cells)
    caption = _caption(panels, plan, not_shown(items, MOST_PANELS))
    width, height = panel_inches(plan, 5.0 if count == 1 else 2.4)
    size = (max(width * columns + 0.5, NARROWEST), height * rows + 0.9 + 0.16 * len(caption))
    figure = new_figure(size)
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[count:]:
        axes.remove()
    for number, panel in enumerate(panels):
        draw_panel(grid.flat[number], panel, plan)
        grid.flat[number].set_ylabel("query" if number % columns == 0 else "", color=INK)
        grid.flat[number].set_xlabel("key" if number + columns >= count else "", color=INK)
    title = {"fontsize": 9, "family": "monospace", "color": INK, "parse_math": False}
    if count == 1:
        grid.flat[0].set_title(_title(plan, size[0]), **title)
    else:
        figure.suptitle(_title(plan, size[0]), **title)
    draw_legend(figure, panels[0], "\n".join(caption))
    return figure


def new_figure(inches: tuple[float, float]) -> Figure:
    """A figure that belongs to no window."""
    return import_figure()(figsize=inches, dpi=DPI, layout="constrained")


@public
def save_image(plan: Plan, path: str | Path, *, batch: int | None = None, head: int | None = None) -> None:
    """Draw a plan into a PNG, SVG or PDF file.

    Args:
        plan: the plan.
        path: the file; its name ends in .png, .svg or .pdf. One that exists is replaced.
        batch, head: which item and head; all, up to twelve small pictures, if left out.

    Raises:
        ArgumentError: another kind of file, a file that cannot be written, or there is no such item or head.
        AttnMaskError: matplotlib is missing.

    >>> import attnmask as am, tempfile
    >>> save_image(am.compile(am.causal(), q=8), Path(tempfile.mkdtemp(), "causal.png"))
    """
    write_figure(path, lambda: figure_from_plan(plan, batch=batch, head=head))


def write_figure(path: str | Path, figure: Callable[[], Figure]) -> None:
    """Draw a figure into a file, once its name is known to be one that can be written."""
    suffix = picture_suffix(path)
    drawn = figure()
    try:
        with whole_file(path) as file:
            drawn.savefig(file, format=suffix[1:])
    except OSError as error:
        raise ArgumentError(
            f"cannot be written: {error.strerror}",
            where=escaped(str(path)),
            fix="name a file in a folder that can be written to",
        ) from error


def panel_inches(plan: Plan, longer: float) -> tuple[float, float]:
    """Width and height of a panel: as the plan, but no flatter than 1 to 4."""
    ratio = max(plan.Q, 1) / max(plan.K, 1)
    return longer * min(1, max(1 / ratio, 1 / 4)), longer * min(1, max(ratio, 1 / 4))


def draw_panel(axes: Axes, panel: Panel, plan: Plan) -> None:
    """Draw one item and head."""
    from matplotlib.colors import ListedColormap
    from matplotlib.ticker import EngFormatter, MaxNLocator

    rows, columns = panel.states.shape
    extent = (-0.5, columns * panel.width - 0.5, rows * panel.height - 0.5, -0.5)
    colours = ListedColormap([NONE, SOME, ALL])
    if panel.states.size:
        axes.imshow(panel.states, cmap=colours, vmin=0, vmax=2, extent=extent, interpolation="nearest", aspect="auto")
    # The last tile may hold fewer rows and keys than it is drawn with.
    axes.set(xlim=(-0.5, max(plan.K, 1) - 0.5), ylim=(max(plan.Q, 1) - 0.5, -0.5))
    axes.set_box_aspect(panel_inches(plan, 1.0)[1] / panel_inches(plan, 1.0)[0])
    axes.set_title(f"{panel.name}\n{share(panel, plan)}", fontsize=8, color=INK, parse_math=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1, steps=[1, 2, 4, 5, 10]))
        axis.set_major_formatter(EngFormatter(sep=""))
    axes.tick_params(labelsize=8, length=0, colors=INK)
    axes.spines[:].set_visible(False)
    if panel.is_exact and max(plan.Q, plan.K) <= MOST_CELLS_WITH_GRID:
        _draw_grid(axes, plan)


def _draw_grid(axes: Axes, plan: Plan) -> None:
    axes.set_xticks([key - 0.5 for key in range(plan.K + 1)], minor=True)
    axes.set_yticks([row - 0.5 for row in range(plan.Q + 1)], minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)


def _title(plan: Plan, inches: float) -> str:
    title, longest = "" if plan.mask is None else repr(plan.mask), int(11 * inches)
    return title if len(title) <= longest else title[: longest - 1] + "…"


def _caption(panels: list[Panel], plan: Plan, more: str) -> list[str]:
    """Lines below the picture."""
    attend = share(panels[0], plan) if len(panels) == 1 else ""
    position = f"query 0 stands at position {plan.offset:,}" if plan.offset else ""
    return [line for line in (attend, tile_size(panels[0]), position, more) if line]


def draw_legend(figure: Figure, panel: Panel, caption: str) -> None:
    """Say below what the colours mean, under a caption."""
    from matplotlib.patches import Patch

    colours = (ALL, NONE) if panel.is_exact else (ALL, SOME, NONE)
    labels = ("attends", "does not") if panel.is_exact else ("all attend", "some", "none")
    legend = figure.legend(
        handles=[Patch(color=colour, label=label) for colour, label in zip(colours, labels, strict=True)],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        title=caption,
        title_fontsize=8,
    )
    legend.get_title().set(color=INK, multialignment="center")
