"""The six verdicts of an audit, and findings with their measurements and reproduction scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from attnmask.auditing.expected.layer_masks import LayerMask


class Verdict(StrEnum):
    """The result of a probe in one cell."""

    OK = "ok"
    BUG = "bug"
    BY_DESIGN = "by design"
    NO_POWER = "no power"
    NOT_APPLICABLE = "not applicable"
    COULD_NOT_RUN = "could not run"


class CouldNotRunError(Exception):
    """The model raised where a probe ran it; no finding."""


@dataclass(frozen=True)
class Finding:
    """One probe in one cell.

    Attributes:
        probe: its name. verdict: what became of it. what: a sentence.
        cell: what was varied, such as {"padding": "left", "implementation": "sdpa"}.
        number: what was measured, relative to the size of the outputs. threshold: above which it is a bug.
        power: what a legal change measures in the same place.
        since: the first layer and head of which the received mask is not the declared one.
        cause: the likely one. script: a reproduction that runs without attnmask.
        expected, received: masks to draw, as Plan; None where there are none.
        layers: of a bug, what every layer attends to in that run.
    """

    probe: str
    verdict: Verdict
    what: str
    cell: Mapping[str, str] = field(default_factory=dict[str, str])
    number: float | None = None
    threshold: float | None = None
    power: float | None = None
    since: str = ""
    cause: str = ""
    script: str = ""
    expected: Any = field(default=None, compare=False, repr=False)
    received: Any = field(default=None, compare=False, repr=False)
    layers: tuple[LayerMask, ...] = field(default=(), compare=False, repr=False)

    @property
    def where(self) -> str:
        """The cell in words."""
        return ", ".join(f"{name} {value}" for name, value in self.cell.items() if value)
