"""The command line: one file a command; each reads its arguments, calls the library and prints."""

from __future__ import annotations

import signal
import sys
from importlib.metadata import version
from typing import Annotated

try:
    import typer

    from attnmask.cli.command_exits import Commands, leave_at_once_if_interrupted
except ImportError:
    raise SystemExit("the command line needs typer and rich: pip install 'attnmask[cli]'") from None

from attnmask.cli.audit_command import audit
from attnmask.cli.bench_command import bench
from attnmask.cli.draw_command import draw
from attnmask.cli.encode_command import encode
from attnmask.cli.formats_command import formats

app = typer.Typer(
    name="attnmask",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Attention masks: describe one, look at it, embed texts under one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (draw, formats, audit, encode, bench):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that files and processes are cleared away
    try:
        app()
    except SystemExit as end:
        leave_at_once_if_interrupted(end)
        raise


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"attnmask {version('attnmask')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...
