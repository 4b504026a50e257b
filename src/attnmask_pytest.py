"""pytest: the fixture ``mask_audit``, and a marker of the same name for its options.

It stands outside the package because pytest imports it whenever it starts, and the package would bring NumPy along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from attnmask.auditing.report.audit_report import Report

MARKER = "mask_audit(**options): options of the fixture mask_audit, such as expect= and probes="


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def mask_audit(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """Audit a model: ``mask_audit(model, **options)``, with the options of ``attnmask.auditing``.

    The test fails with the text of the report where bugs are found, or where no probe comes to a result. Options may
    stand in ``@pytest.mark.mask_audit(...)`` too, on a test, a class or a module; the nearest one counts.
    """
    marked: dict[str, Any] = {}
    for marker in request.node.iter_markers("mask_audit"):
        if marker.args:
            raise pytest.UsageError("the marker mask_audit takes options by name, such as expect= and probes=")
        marked = {**marker.kwargs, **marked}

    def audited(model: Any, **options: Any) -> Report:
        from attnmask.auditing import audit
        from attnmask.auditing.report.summary import text_from_report

        report = audit(model, **(marked | options))
        if report.exit_code:
            pytest.fail(text_from_report(report), pytrace=False)
        return report

    return audited
