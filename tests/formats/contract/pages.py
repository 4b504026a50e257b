"""The contract as pages, one a format: every kind of mask on every shape, can or the reasons.

``python -m tests.formats.contract.pages`` writes them anew. Read the difference before you commit it: a line that
changes is a format that refuses what it could express, or learnt something.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

import attnmask as am
from attnmask.formats import FORMATS, lift, lower
from tests.formats.cases import KINDS, SHAPES, VARIANTS, Variant, plans

FOLDER = Path(__file__).parent / "pages"
PLANS = plans()
APART = "; "


def outcome(variant: Variant, plan: am.Plan) -> str:
    """What became of a plan: "can", or every reason why not."""
    options = variant.options(plan)
    reasons = import_module(FORMATS[variant.format]).refusals(plan, **options)
    if reasons:
        assert all(reasons)
        return APART.join(reasons)
    lowered = lower(plan, variant.format, **options)
    assert lift(variant.format, lowered, **variant.hints(plan)) == plan
    return "can"


def section(name: str) -> str:
    """What a variant of a format makes of every kind of mask."""
    return "\n".join([f"[{name}]", *(_entry(name, kind) for kind in KINDS)])


def _entry(name: str, kind: str) -> str:
    shapes: dict[str, list[str]] = {}
    for shape in SHAPES:
        shapes.setdefault(outcome(VARIANTS[name], PLANS[f"{kind}, {shape}"]), []).append(shape)
    able = shapes.pop("can", [])
    head = "can" if not shapes else f"can on {APART.join(able)}" if able else "cannot"
    return "\n".join([f"{kind}: {head}", *(f"  {APART.join(on)}: {why}" for why, on in shapes.items())])


def page(form: str) -> str:
    """The page of a format: its variants one after the other."""
    lengths = APART.join(f"{name} {size}" for name, size in SHAPES.items())
    head = f"{form}: {import_module(FORMATS[form]).summary}\nshapes (Q, K, offset): {lengths}"
    return "\n\n".join([head, *(section(name) for name, of in VARIANTS.items() if of.format == form)]) + "\n"


@cache
def written_sections() -> dict[str, str]:
    """The sections of all pages, as they were written down."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.txt")))
    sections = (part for text in texts for part in text.strip().split("\n\n")[1:])
    return {part.partition("]")[0].removeprefix("["): part for part in sections}


def shapes_that_can(name: str, kind: str) -> list[str]:
    """The shapes on which a variant can hold a kind of mask, as it was written down."""
    head = next(line for line in written_sections()[name].splitlines() if line.startswith(f"{kind}: "))
    said = head.removeprefix(f"{kind}: ")
    return list(SHAPES) if said == "can" else said.removeprefix("can on ").split(APART) if said != "cannot" else []


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for form in FORMATS:
        (FOLDER / f"{form}.txt").write_text(page(form), encoding="utf-8")
