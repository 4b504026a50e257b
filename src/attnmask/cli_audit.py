"""The command ``audit``: what it reads, shows and writes; what it does lies in attnmask.audit."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from attnmask.audit import audit
from attnmask.audit.html import html_of
from attnmask.audit.junit import junit_of
from attnmask.audit.report import Report
from attnmask.audit.sweep import MODES, entries, reports_of, sweep
from attnmask.audit.terminal import print_report, print_sweep
from attnmask.errors import ArgumentError, AttnMaskError
from attnmask.mask.parse import mask_from_text

FORMS = {"json": Report.to_json, "junit": junit_of, "html": html_of}


def audit_one(
    model: str,
    mode: str,
    mask: str,
    expect: Sequence[str],
    probes: Sequence[str],
    redraw: bool,
    files: Mapping[str, Path | None],
) -> int:
    """Audit a model, print and write the report.

    Args:
        model, mode, mask, expect, probes, redraw: as on the command line. files: from a name in ``FORMS``.

    Returns:
        The exit code.
    """
    wanted = {form: path for form, path in files.items() if path is not None}
    for path in wanted.values():
        _check(path)
    declared = mask_from_text(mask) if mask else None
    exceptions = dict(_exception(text) for text in expect)
    try:
        with _bar() as bar:
            task = bar.add_task(f"audit {model}", total=None)
            report = audit(
                model,
                mask=declared,
                mode=mode,
                probes=probes,
                expect=exceptions,
                redraw=redraw,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except AttnMaskError:
        raise
    except Exception as error:  # whatever a model's own code raises; exit code 1 would say that a bug is found
        traceback.print_exc()
        raise AttnMaskError(f"the model does not run: {type(error).__name__}: {error}", where=model) from error
    for form, path in wanted.items():
        path.write_text(FORMS[form](report))
    print_report(report, Console())
    return report.exit_code


def audit_all(folder: Path, processes: int, mode: str) -> int:
    """Audit every architecture that has no report in a folder yet, and print what all reports there come to.

    Returns:
        The exit code.
    """
    if mode and mode not in MODES:
        raise ArgumentError(f"there is no mode {mode!r} of a sweep", where="--mode", fix=f"give {', '.join(MODES)}")
    wanted = entries((mode,) if mode else MODES)
    with _bar() as bar:
        task = bar.add_task("audit", total=len(wanted))
        for done, name in sweep(folder, wanted, processes):
            bar.update(task, completed=done, description=name)
    return print_sweep(list(reports_of(folder)), Console())


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def _check(path: Path) -> None:
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise ArgumentError("no file can be written there", where=str(path), fix="name a file in a folder that exists")


def _exception(text: str) -> tuple[str, str]:
    name, separator, why = text.partition("=")
    if not separator or not why:
        raise ArgumentError(f"{text!r} does not say why", where="--expect", fix="such as left_padding=shifted")
    return name, why
