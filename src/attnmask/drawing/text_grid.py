"""A plan as a grid of characters."""

from __future__ import annotations

import shutil

from attnmask.calls import public
from attnmask.compiler import Plan
from attnmask.conventions import TileState
from attnmask.drawing.panels import Panel, chosen_items, not_shown, panels_from_plan, share, tile_size
from attnmask.mask.arguments import positive_number

SIGNS = {TileState.EMPTY: "·", TileState.PARTIAL: "▒", TileState.FULL: "■"}
MOST_ROWS = 64
MOST_PANELS = 4


@public
def text_from_plan(plan: Plan, *, batch: int | None = None, head: int | None = None, width: int | None = None) -> str:
    """Draw a plan with characters: a line per query row, a sign per key.

    Where the plan does not fit, a sign stands for a tile of pairs, and the last line says so.

    Args:
        plan: the plan.
        batch, head: which item and head; all, up to four pictures, if left out.
        width: characters that a line may have; those of the terminal if left out.

    Returns:
        Lines of text.

    Raises:
        ArgumentError: there is no such item or head.

    >>> import attnmask as am
    >>> print(text_from_plan(am.compile(am.causal() & am.window(left=1, right=0), q=3, k=5, align="end")))
    6 of 15 pairs attend (40%)
                   key
    query position 0
        0        2 · ■ ■ · ·
        1        3 · · ■ ■ ·
        2        4 · · · ■ ■
    ■ attends  · does not
    """
    width = shutil.get_terminal_size().columns if width is None else positive_number(width, "width", "text_from_plan")
    items = chosen_items(plan, batch, head)
    margin = len(_label(plan, "query", "position"))
    panels = panels_from_plan(plan, items[:MOST_PANELS], _most_cells(plan, max((width - margin) // 2, 1)))
    blocks = ["\n".join(_grid(panel, plan)) for panel in panels]
    below = [_legend(panels[0]), not_shown(items, MOST_PANELS)]
    return "\n".join(["\n\n".join(blocks), *filter(None, below)])


def _most_cells(plan: Plan, columns: int) -> int:
    """Cells that fit; one number for both axes, so that the tiles of a square are squares."""
    fits = plan.Q <= MOST_ROWS and columns >= plan.K
    return max(plan.Q, plan.K, 1) if fits else min(MOST_ROWS, columns)


def _grid(panel: Panel, plan: Plan) -> list[str]:
    margin = len(_label(plan, "query", "position"))
    title = f"{panel.name}: {share(panel, plan)}" if panel.name else share(panel, plan)
    lines = [title, " " * margin + "key", _label(plan, "query", "position") + _ticks(panel)]
    for number, states in enumerate(panel.states):
        row = number * panel.height
        signs = " ".join(SIGNS[TileState(state)] for state in states)
        lines.append(_label(plan, str(row), str(row + plan.offset)) + signs)
    return [line.rstrip() for line in lines]


def _label(plan: Plan, row: str, position: str) -> str:
    widest = max(5, len(str(plan.Q)))
    return f"{row:>{widest}} {position:>8} " if plan.offset else f"{row:>{widest}} "


def _ticks(panel: Panel) -> str:
    """The number of every fifth key, or of the first key of every eighth tile."""
    step, columns = 5 if panel.is_exact else 8, panel.states.shape[1]
    return "".join(f"{column * panel.width:<{2 * step}}" for column in range(0, columns, step))


def _legend(panel: Panel) -> str:
    if panel.is_exact:
        return "■ attends  · does not"
    return f"{tile_size(panel)}: ■ all attend  ▒ some  · none"
