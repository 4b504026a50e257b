"""Run all probes on a subject."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from types import ModuleType
from typing import Any

import torch

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
        subject: what to audit. probes: names; all if left out.
        expect: exceptions, from the name of a probe, or a padding, to why: those findings are by design.
        progress: called with probes done and in all.
    """
    chosen = check_options(probes, expect or {})
    started = time.perf_counter()
    context = ProbeContext(subject)
    findings: list[Finding] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if _is_tiny(subject) else threads)
    try:
        with quiet(), dropout_disabled(subject.model):
            for number, probe in enumerate(chosen):
                findings += _run_probe(probe, context)
                if progress is not None:
                    progress(number + 1, len(chosen))
            layers = context.layers(*run_for_pictures(subject))
    finally:
        torch.set_num_threads(threads)
    judged = tuple(_apply_exceptions(finding, expect or {}) for finding in findings)
    declared = tuple(repr(mask) if mask is not None else "not declared" for mask in subject.layers or ())
    return Report(subject.name, judged, time.perf_counter() - started, _versions(), declared, layers)


def check_options(probes: Sequence[str], expect: Mapping[str, str]) -> list[ModuleType]:
    """The probes of those names, all if there are none; refuses unknown probes and unknown exceptions."""
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
    except Exception as error:  # a model's own code raises what it likes where a probe reads from it
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
            fix=f"they are {', '.join(known)}; an underscore is as good as a space",
        )


def _apply_exceptions(finding: Finding, expect: Mapping[str, str]) -> Finding:
    """A bug that the user declared to be none, by its probe or its padding; the report shows it."""
    if finding.verdict is not Verdict.BUG:
        return finding
    side = finding.cell.get("padding", "")
    for name, why in expect.items():
        if name.replace("_", " ") in (finding.probe, f"{side} padding"):
            return replace(finding, verdict=Verdict.BY_DESIGN, cause=f"declared: {why}")
    return finding


def _is_tiny(subject: Subject) -> bool:
    # Threads wait for each other longer than small tensors take.
    return sum(p.numel() for p in subject.model.parameters()) < 5_000_000


def _versions() -> dict[str, str]:
    found: dict[str, Any] = {}
    for name in ("attnmask", "torch", "transformers"):
        try:
            found[name] = version(name)
        except Exception:  # not installed
            continue
    return found
