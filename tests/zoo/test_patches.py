"""Every bug planted in a model of transformers is found by its probe; unpatched, the same probe is clean."""

from __future__ import annotations

import pytest

from attnmask.auditing import audit
from tests.zoo.patches import PATCHES, Patch, planted

TWINS = sorted({(patch.model, patch.mode, patch.probe) for patch in PATCHES})


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: f"{patch.model}: {patch.name}")
def test_a_planted_bug_is_found_by_its_probe(patch: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(patch, monkeypatch)
    report = audit(patch.model, mode=patch.mode, probes=[patch.probe])
    assert report.exit_code == 1, report.verdicts
    assert any(patch.cause in finding.cause for finding in report.bugs)


@pytest.mark.parametrize(("model", "mode", "probe"), TWINS)
def test_without_it_the_probe_is_clean(model: str, mode: str, probe: str) -> None:
    report = audit(model, mode=mode, probes=[probe])
    assert report.exit_code == 0, str(report)
