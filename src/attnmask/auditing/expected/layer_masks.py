"""The received and the declared mask of a layer in one run, as drawn in a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from attnmask.compiler.plan import Plan


@dataclass(frozen=True)
class LayerMask:
    """The masks of one attention call, restricted to queries that are tokens.

    Attributes:
        layer: name of the layer. expected, received: the declared and the recorded pairs. is_exact: whether
            ``expected`` is known exactly; if not, it is an upper bound.
    """

    layer: str
    expected: Plan
    received: Plan
    is_exact: bool = True

    @property
    def extra(self) -> int:
        """Number of pairs that attend and should not."""
        return self.received.diff(self.expected).only_left.pairs

    @property
    def missing(self) -> int:
        """Number of pairs that should attend and do not."""
        return self.received.diff(self.expected).only_right.pairs if self.is_exact else 0

    def to_plain(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "layer": self.layer,
            "expected": self.expected.to_json(),
            "received": self.received.to_json(),
            "is_exact": self.is_exact,
        }

    @staticmethod
    def from_plain(values: dict[str, Any]) -> LayerMask:
        """Convert from the JSON values of ``to_plain``."""
        expected, received = (Plan.from_json(values[name]) for name in ("expected", "received"))
        return LayerMask(values["layer"], expected, received, values["is_exact"])
