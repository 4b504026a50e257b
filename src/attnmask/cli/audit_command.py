"""The command ``audit``: which model, what it is declared to obey, and where the reports go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attnmask.cli.command_exits import silence_bars_of_transformers
from attnmask.cli.options import refuse_ignored
from attnmask.errors import ArgumentError


def audit(
    model: Annotated[str | None, typer.Argument(help="A model's folder, a model type, or module:function.")] = None,
    mode: Annotated[str, typer.Option(help="causal, masked, seq2seq, base or classification.")] = "",
    mask: Annotated[str, typer.Option(help="What it is declared to obey beside padding, such as 'causal()'.")] = "",
    expect: Annotated[
        list[str] | None, typer.Option(help="An exception, such as left_padding=shifted; may be repeated.")
    ] = None,
    probe: Annotated[list[str] | None, typer.Option(help="Only this probe; may be repeated.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write it as JUnit XML.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write it as a page with pictures.")] = None,
    redraw: Annotated[bool, typer.Option("--redraw", help="Draw all weights anew: the model is not trained.")] = False,
    all_transformers: Annotated[
        bool, typer.Option("--all-transformers", help="Every text architecture of the installed transformers.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where their reports are kept; those there are not made anew. Default: audit-transformers"),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Architectures audited at once. Default: 2")
    ] = None,
) -> None:
    """Find out whether a model obeys its mask. Exit code: 0 clean, 1 bugs found, 2 could not run."""
    if all_transformers == (model is not None):
        raise ArgumentError("it is not clear what to audit", fix="give a model, or --all-transformers")
    files = {"json": json, "junit": junit, "html": html}
    if model is None:
        one = {"--mask": mask, "--expect": expect, "--probe": probe, "--redraw": redraw}
        refuse_ignored(
            one | {f"--{form}": path for form, path in files.items()}, "--all-transformers audits many models"
        )
    else:
        refuse_ignored({"--folder": folder, "--processes": processes}, "these belong to --all-transformers")

    from attnmask.cli.audit_run import audit_all, audit_one

    if model is None:
        raise typer.Exit(audit_all(folder or Path("audit-transformers"), processes or 2, mode))
    if Path(model).is_dir():
        silence_bars_of_transformers()
    raise typer.Exit(audit_one(model, mode, mask, expect or [], probe or [], redraw, files))
