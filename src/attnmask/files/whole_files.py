"""Writing a file completely or not at all, also when the writing is interrupted."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from attnmask.errors import InputFileError
from attnmask.escapes import escaped


def check_target(path: str | Path) -> None:
    """Find out before long work whether a file can be written.

    Args:
        path: of the file; one that exists would be replaced.

    Raises:
        InputFileError: it is a folder, its name cannot be one, or its folder is missing or cannot be written to.

    >>> check_target("report.json")
    """
    where = escaped(str(path))
    status = _status(path, where)
    if status is not None and stat.S_ISDIR(status.st_mode):
        raise InputFileError("this is a folder", where=where, fix="name a file in it")
    if status is not None and not stat.S_ISREG(status.st_mode):
        return  # a pipe or a device is written to as it is
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        shown = escaped(str(Path(path).parent))
        raise InputFileError("the folder of the file does not exist", where=where, fix=f"mkdir -p {shown}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputFileError("the folder of the file cannot be written to", where=where)


def _status(path: str | Path, where: str) -> os.stat_result | None:
    """What is there; None for nothing."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # too long a name, links in a circle, a NUL
        why = getattr(error, "strerror", None) or error
        raise InputFileError(f"cannot be written: {why}", where=where, fix="give another name") from error


@contextmanager
def whole_file(path: str | Path) -> Generator[BinaryIO]:
    """A file to write, which takes its place once it is complete and on the disk, and is removed when it is not.

    A file that exists is replaced in one step and keeps its mode; a link stays a link. A pipe, a device and the
    process's own output get the complete content and nothing else.

    Args:
        path: of the file.

    Raises:
        OSError: the disk fails or is full, or the folder cannot be written to; what was there is as before.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "report.txt")
    >>> with whole_file(path) as file:
    ...     _ = file.write(b"all of it")
    >>> path.read_bytes()
    b'all of it'
    """
    status = os.stat(path) if os.path.exists(path) else None
    if status is None or (stat.S_ISREG(status.st_mode) and _stream_of(status) is None):
        with _replacing(os.path.realpath(path), status) as file:
            yield file
        return
    content = BytesIO()
    yield content
    _send(content.getbuffer(), path, _stream_of(status))


def write_whole(path: str | Path, content: str) -> None:
    """Write text as UTF-8 by ``whole_file``.

    Args:
        path: of the file. content: all that it will hold.

    Raises:
        OSError: as ``whole_file``.
    """
    with whole_file(path) as file:
        file.write(content.encode())


@contextmanager
def _replacing(target: str, status: os.stat_result | None) -> Generator[BinaryIO]:
    temporary = os.path.join(os.path.dirname(target), f".attnmask-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            if status is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def _send(content: memoryview, path: str | Path, stream: TextIO | None) -> None:
    """Write to what cannot be replaced."""
    if stream is None:
        with open(path, "wb") as file:
            file.write(content)
        return
    # Opened by its name, /dev/stdout would be cut to nothing where it is a file.
    stream.flush()
    with os.fdopen(os.dup(stream.fileno()), "wb") as file:
        file.write(content)


def _stream_of(status: os.stat_result) -> TextIO | None:
    """The process's own output, if that is the file."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # closed, or none of the system's
            if os.path.samestat(status, os.fstat(cast(TextIO, stream).fileno())):
                return stream
    return None
