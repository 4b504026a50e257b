"""The fixture ``mask_audit`` in the test runs of others."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]

TESTS = """
import pytest, sys
sys.path.insert(0, {root!r})
import attnmask as am
from tests.auditing.report.reports import repaired, skipping

PROBES = ["padding leak"]
pytestmark = pytest.mark.mask_audit(probes=PROBES, mask=am.full(), redraw=True)

def test_clean(mask_audit):
    assert mask_audit(repaired()).exit_code == 0

def test_bug(mask_audit):
    mask_audit(skipping())
    assert False, "not reached"

@pytest.mark.mask_audit(expect={{"padding leak": "one text is never padded"}})
def test_exception(mask_audit):
    assert mask_audit(skipping()).findings[3].cause == "declared: one text is never padded"

def test_options_of_the_call_come_first(mask_audit):
    assert list(mask_audit(repaired(), probes=["gradients"]).verdicts) == ["gradients"]

def test_nothing_to_see(mask_audit):
    mask_audit(repaired(), probes=["pooling reads padding"])

@pytest.mark.mask_audit("padding leak")
def test_wrong_marker(mask_audit):
    pass
"""


def test_the_fixture_fails_a_test_with_the_report(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS.format(root=str(ROOT)))
    options = ("-p", "attnmask_pytest", "--strict-markers", "-W", "error", "-p", "no:cacheprovider")
    result = pytester.runpytest_subprocess(*options, timeout=200)
    result.assert_outcomes(passed=3, failed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*the marker mask_audit takes options by name*",
            "*_ test_bug _*",
            "Encoder: 1 bug in 2 cells by 1 probe, *",
            "bug: padding leak",
            "  since  layers.0.self_attn; 2 of 2 layers attend to other keys than declared",
            "to reproduce padding leak:",
            "*_ test_nothing_to_see _*",
            "Encoder: could not be audited, no probe came to a result",
        ]
    )
    # The report is the message: no line of the fixture's own code around it.
    result.stdout.no_fnmatch_line("*def audited*")


def test_the_marker_is_explained(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("-p", "attnmask_pytest", "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.mask_audit(?*options): *"])


def test_starting_pytest_loads_nothing_heavy() -> None:
    code = (
        "import sys, attnmask_pytest; "
        "print({'attnmask', 'numpy', 'torch', 'transformers'} & {name.split('.')[0] for name in sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_pytest_finds_the_plugin_by_itself() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    # The name of the entry point is that of the module, so that -p attnmask_pytest does not load it twice.
    assert project["project"]["entry-points"]["pytest11"] == {"attnmask_pytest": "attnmask_pytest"}
    assert project["tool"]["setuptools"]["py-modules"] == ["attnmask_pytest"]
