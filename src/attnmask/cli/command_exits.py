"""Exit codes and messages of commands, whatever ends them."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from traceback import extract_tb, format_exception
from typing import Any, NoReturn

import typer
from rich.console import Console
from typer.core import TyperGroup

from attnmask.errors import AttnMaskError, missing_extra
from attnmask.escapes import escaped

FAILED = 2
PIPE_CLOSED = 128 + 13  # as a shell reports a tool that SIGPIPE ended
UsageError: Any = typer.BadParameter.__base__


class Commands(TyperGroup):
    """The commands; none of them ends with a traceback, and none with exit code 1 that does not mean it."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the arguments before the command."""
        with exit_codes():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Read the command's own arguments, and run it."""
        with exit_codes(), _sudden_exits_raised():
            return super().invoke(ctx)


class Terminal(Console):
    """rich's console, which would end the process with exit code 1 where the reader of its output has gone."""

    def on_broken_pipe(self) -> None:
        """Leave it to ``exit_codes``."""
        raise BrokenPipeError


@contextmanager
def exit_codes() -> Generator[None]:
    """Turn what a command raises into a message on standard error and ``typer.Exit``.

    The code is 2; 141 without a message where the reader of standard output has gone.
    """
    try:
        try:
            yield
        finally:
            _flush()  # a full disk must show before the exit code is settled
    except typer.Exit:
        raise
    except BaseException as error:
        raise typer.Exit(_code_of(error)) from None


def leave_at_once_if_interrupted(end: SystemExit) -> None:
    """Spare who pressed Ctrl-C the seconds in which Python clears away torch and transformers."""
    seen: BaseException | None = end
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__context__
    if seen is not None:
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]  # the semaphores of processes that are gone
        os._exit(FAILED)


def say(message: str) -> None:
    """Print a message on standard error, where that still takes one."""
    with suppress(OSError, ValueError):
        typer.echo(escaped(message, lines=True), err=True)


@contextmanager
def model_code(name: str) -> Generator[None]:
    """Name the model whose own code raises, and show where; whatever it raises is no finding.

    Args:
        name: of the model.

    Raises:
        AttnMaskError: in place of what the model's code raises.
    """
    try:
        yield
    except AttnMaskError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and missing_extra(error):
            raise
        if not isinstance(error, SystemExit):
            say("".join(format_exception(error)).rstrip())
        what = f"the model does not run: {type(error).__name__}: {error}"
        raise AttnMaskError(what, where=escaped(name)) from error


def _code_of(error: BaseException) -> int:
    _discard_unwritten()
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED
    say(_message_of(error))
    return FAILED


def _message_of(error: BaseException) -> str:
    match error:
        case AttnMaskError():
            return f"error: {error}"
        case ModuleNotFoundError() if missing := missing_extra(error):
            return f"error: {missing}"
        case UsageError():
            return _message_of_usage(error)
        case KeyboardInterrupt() | typer.Abort():
            return "interrupted"
        case SystemExit():
            return f"error: other code ended the process: SystemExit({error.code!r})"
        case MemoryError():
            return "error: there is not enough memory\n  to do: take fewer tokens, heads or texts"
        case OSError():
            about = f"{escaped(str(error.filename))}: " if error.filename else ""
            return f"error: {about}{error.strerror or error}"
        case _:
            return _unexpected(error)


def _message_of_usage(error: Any) -> str:
    if type(error).__name__ == "NoArgsIsHelpError":
        return error.format_message()
    message = error.format_message().rstrip(".")
    command = error.ctx.command_path if error.ctx else "attnmask"
    return f"error: {message[:1].lower()}{message[1:]}\n  to do: see {command} --help"


def _unexpected(error: BaseException) -> str:
    """Of an error that nobody foresaw: what and where, for a report of it."""
    frames = extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "unknown"
    name = type(error).__name__
    return f"error: unexpected {name}: {error}\n  where: {where}\n  to do: report it, with this command"


def _discard_unwritten() -> None:
    """Point standard output at nothing if what is left in its buffer cannot be written."""
    try:
        _flush()
    except OSError:  # it would fail once more when Python ends, and change the exit code
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


@contextmanager
def _sudden_exits_raised() -> Generator[None]:
    """``os._exit`` of a model's code raises SystemExit: no other code may choose the exit code."""
    exit_at_once, own = os._exit, os.getpid()

    def leave(status: int) -> NoReturn:
        if os.getpid() != own:  # a forked process of a data loader ends so
            exit_at_once(status)
        raise SystemExit(status)

    os._exit = leave
    try:
        yield
    finally:
        os._exit = exit_at_once


def silence_bars_of_transformers() -> None:
    """Let transformers draw no bar for the loading of weights, which it does even into a file."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
