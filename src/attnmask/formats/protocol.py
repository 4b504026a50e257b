"""The protocol of a format: a module with a name, a summary and three functions."""

from __future__ import annotations

from typing import Any, Protocol

from attnmask.compiler.plan import Plan


class Format(Protocol):
    """A representation of a set of pairs, and the ways into and out of it.

    For every plan without refusals ``lift(lower(plan, **options), **hints) == plan``; the hints are only what the
    representation itself does not hold.

    Attributes:
        name: as it stands in ``FORMATS``.
        summary: one line: the type, the axes, and what attends.
    """

    name: str
    summary: str

    def refusals(self, plan: Plan, **options: Any) -> list[str]:
        """Every reason why the representation cannot hold the set; none if it can. Loads no framework."""
        ...

    def lower(self, plan: Plan, **options: Any) -> Any:
        """The representation of a plan that has no refusals under the same options."""
        ...

    def lift(self, representation: Any, **hints: Any) -> Plan:
        """The plan of a representation, whoever made it."""
        ...
