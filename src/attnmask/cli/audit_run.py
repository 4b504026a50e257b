"""What the command ``audit`` runs, shows and writes: one model, or every architecture of transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from attnmask.auditing import audit
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.html_page import html_from_report
from attnmask.auditing.report.junit_xml import junit_from_report
from attnmask.auditing.report.terminal_text import print_report, print_sweep
from attnmask.auditing.sweep import MODES, check_folder, entries, read_reports, sweep
from attnmask.cli.command_exits import Terminal, model_code
from attnmask.errors import ArgumentError, InputFileError
from attnmask.escapes import escaped
from attnmask.files import check_target, write_whole
from attnmask.mask.parse_text import mask_from_text

FORMS = {"json": Report.to_json, "junit": junit_from_report, "html": html_from_report}


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
        check_target(path)
    if len(set(wanted.values())) < len(wanted):
        raise ArgumentError("two reports have one file", where=" ".join(f"--{form}" for form in wanted))
    declared = mask_from_text(mask) if mask else None
    exceptions = dict(_exception(text) for text in expect)
    with model_code(model), _bar() as bar:
        task = bar.add_task(escape(escaped(f"audit {model}")), total=None)
        report = audit(
            model,
            mask=declared,
            mode=mode,
            probes=probes,
            expect=exceptions,
            redraw=redraw,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    try:
        print_report(report, Terminal())
    finally:
        _write(report, wanted)
    return report.exit_code


def _write(report: Report, files: Mapping[str, Path]) -> None:
    """Write every report that can be written, and then say which could not."""
    unwritten: list[str] = []
    for form, path in files.items():
        try:
            write_whole(path, FORMS[form](report))
        except OSError as error:
            unwritten.append(f"{escaped(str(path))}: {error.strerror or error}")
    if unwritten:
        what = "a report cannot be written" if len(unwritten) == 1 else f"{len(unwritten)} reports cannot be written"
        raise InputFileError(what, where="; ".join(unwritten), fix="name files in a folder with room")


def audit_all(folder: Path, processes: int, mode: str) -> int:
    """Audit every architecture that has no report in a folder yet, and print what all reports there come to.

    Returns:
        The exit code.
    """
    if mode and mode not in MODES:
        raise ArgumentError(f"there is no mode {mode!r} of a sweep", where="--mode", fix=f"give {', '.join(MODES)}")
    check_folder(folder)
    wanted = entries((mode,) if mode else MODES)
    with _bar() as bar:
        task = bar.add_task("audit", total=len(wanted))
        for done, name in sweep(folder, wanted, processes):
            bar.update(task, completed=done, description=name)
    return print_sweep(list(read_reports(folder)), Terminal())


def _bar() -> Progress:
    console = Terminal(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def _exception(text: str) -> tuple[str, str]:
    name, separator, why = text.partition("=")
    if not separator or not why:
        raise ArgumentError(f"{text!r} does not say why", where="--expect", fix="such as left_padding=shifted")
    return name, why
