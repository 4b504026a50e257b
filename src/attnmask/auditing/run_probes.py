"""Run the probes on a subject and collect their findings in a report.

``subject.subject_from_name`` prepares the Subject. Each module in ``probes`` has a NAME, a function ``applies`` and a
function ``run``, which yields findings; the probes share a ``measure.probe_context.ProbeContext``, which runs
comparisons and judges them. The findings, and the masks of all layers, go into a ``report.audit_report.Report``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from types import ModuleType
from typing import Any

from attnmask.auditing.global_state import one_thread_if_tiny
from attnmask.auditing.measure.probe_context import ProbeContext
from attnmask.auditing.probes import PROBES
from attnmask.auditing.recording.model_traces import run_for_pictures
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.verdict import CouldNotRunError, Finding, Verdict
from attnmask.auditing.subject.audited_model import Subject, dropout_disabled
from attnmask.auditing.subject.probe_inputs import SIDES
from attnmask.auditing.subject.subject_from_name import quiet
from attnmask.errors import ArgumentError

Progress = Callable[[int, int], None]


def audit_subject(
    subject: Subject,
    probes: Sequence[str] = (),
    expect: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Audit a subject.

    Args:
        subject: the subject. probes: names of the probes; all if left out.
        expect: intended exceptions: reasons by name of a probe or side of padding; those bugs become "by design".
        progress: called with the number of probes done and the total.
    """
    chosen = check_options(probes, expect or {})
    started = time.perf_counter()
    context = ProbeContext(subject)
    findings: list[Finding] = []
    with one_thread_if_tiny(subject.model), quiet(), dropout_disabled(subject.model):
        for number, probe in enumerate(chosen):
            findings += _run_probe(probe, context)
            if progress is not None:
                progress(number + 1, len(chosen))
        layers = context.layers(*run_for_pictures(subject))
    judged = tuple(_apply_exceptions(finding, expect or {}) for finding in findings)
    declared = tuple(repr(mask) if mask is not None else "not declared" for mask in subject.layers or ())
    return Report(subject.name, judged, time.perf_counter() - started, _versions(), declared, layers)


def check_options(probes: Sequence[str], expect: Mapping[str, str]) -> list[ModuleType]:
    """Return the probes of the given names, or all; raise for unknown probes and unknown exceptions."""
    _check_exceptions(expect)
    return _probes_by_name(probes)


def _run_probe(probe: ModuleType, context: ProbeContext) -> Iterator[Finding]:
    try:
        why = probe.applies(context)
        if why:
            yield Finding(probe.NAME, Verdict.NOT_APPLICABLE, why)
            return
        yield from probe.run(context)
    except CouldNotRunError as error:
        yield Finding(probe.NAME, Verdict.COULD_NOT_RUN, str(error))
    except Exception as error:  # a model's code may raise anything where a probe reads from it
        yield Finding(probe.NAME, Verdict.COULD_NOT_RUN, f"{type(error).__name__}: {str(error)[:160]}")


def _probes_by_name(names: Sequence[str]) -> list[ModuleType]:
    known = {probe.NAME: probe for probe in PROBES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ArgumentError(
            f"there is no probe {unknown[0]!r}", where="audit(probes=)", fix=f"the probes are {', '.join(known)}"
        )
    return [known[name] for name in names] or list(known.values())


def _check_exceptions(expect: Mapping[str, str]) -> None:
    known = [probe.NAME for probe in PROBES] + [f"{side} padding" for side in SIDES]
    unknown = [name for name in expect if name.replace("_", " ") not in known]
    if unknown:
        raise ArgumentError(
            f"there is no probe or padding {unknown[0]!r}",
            where="audit(expect=)",
            fix=f"give one of {', '.join(known)}; underscores count as spaces",
        )


def _apply_exceptions(finding: Finding, expect: Mapping[str, str]) -> Finding:
    """Change a bug that the user declared an exception, by its probe or its padding, to "by design"."""
    if finding.verdict is not Verdict.BUG:
        return finding
    side = finding.cell.get("padding", "")
    for name, why in expect.items():
        if name.replace("_", " ") in (finding.probe, f"{side} padding"):
            return replace(finding, verdict=Verdict.BY_DESIGN, cause=f"declared: {why}")
    return finding


def _versions() -> dict[str, str]:
    found: dict[str, Any] = {}
    for name in ("attnmask", "torch", "transformers"):
        try:
            found[name] = version(name)
        except Exception:  # the package is not installed
            continue
    return found
