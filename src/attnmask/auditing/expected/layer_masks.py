"""What every layer attends to in a run, beside what it is declared to: the pictures of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attnmask.compiler.plan import Plan


@dataclass(frozen=True)
class LayerMask:
    """One call of attention, on rows of tokens.

    Attributes:
        layer: its name. expected, received: the pairs. is_exact: whether ``expected`` is known to the pair; else a
            layer may attend to fewer.
    """

    layer: str
    expected: Plan
    received: Plan
    is_exact: bool = True

    @property
    def extra(self) -> int:
        """Pairs that are attended to though they should not be."""
        return self.received.diff(self.expected).only_left.pairs

    @property
    def missing(self) -> int:
        """Pairs that should be attended to and are not."""
        return self.received.diff(self.expected).only_right.pairs if self.is_exact else 0

    def to_plain(self) -> dict[str, Any]:
        """As values of JSON."""
        return {
            "layer": self.layer,
            "expected": self.expected.to_json(),
            "received": self.received.to_json(),
            "is_exact": self.is_exact,
        }

    @staticmethod
    def from_plain(values: dict[str, Any]) -> LayerMask:
        """What ``to_plain`` gave."""
        expected, received = (Plan.from_json(values[name]) for name in ("expected", "received"))
        return LayerMask(values["layer"], expected, received, values["is_exact"])
