"""The folder where compiled kernels are kept: what may be loaded from it, and what is put into it.

Loading a library runs it, and a library that is cut short ends the process when it is read. So only files are loaded
that this user alone can have written, and whose names end in the hash of their contents.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
from contextlib import suppress
from pathlib import Path

# Who may write a file or a folder besides its owner.
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path | None:
    """Where compiled kernels are kept; None without a home.

    A relative XDG_CACHE_HOME is ignored, as its specification asks.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME") or "")
    try:
        return (given if given.is_absolute() else Path.home() / ".cache") / "attnmask"
    except RuntimeError:
        return None


def against_folder(folder: Path | None) -> str | None:
    """Make the folder where it is not; why kernels cannot be kept in it, or None."""
    if folder is None:
        return "there is no home folder"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return against_owner(folder)
    except OSError as error:
        return f"{folder} cannot be made: {error.strerror}"


def against_owner(path: Path) -> str | None:
    """Why others than this user may have written a file or a folder, or None."""
    about = path.stat()
    if about.st_uid != os.geteuid():
        return f"{path} belongs to another user"
    if about.st_mode & WRITABLE_BY_OTHERS:
        return f"{path} can be written by others (chmod go-w mends it)"
    return None


def kept_libraries(folder: Path, name: str) -> list[Path]:
    """The whole libraries of a name in a folder that only this user writes; those that are broken are removed."""
    whole: list[Path] = []
    for path in sorted(folder.glob(f"{name}-*.so")):
        # A file that cannot be read or removed is left alone; another takes its place.
        with suppress(OSError):
            if path.is_symlink() or not path.is_file() or against_owner(path) is not None:
                continue
            if path.name == name_with_hash(name, path.read_bytes()):
                whole.append(path)
            else:
                path.unlink()
    return whole


def keep(library: Path, folder: Path, name: str) -> Path:
    """Copy a library into the folder; whoever finishes last replaces what others made, which is the same."""
    kept = folder / name_with_hash(name, library.read_bytes())
    fresh = folder / f".{kept.name}.{os.getpid()}"
    try:
        shutil.copyfile(library, fresh)
        fresh.chmod(0o600)
        fresh.replace(kept)
    finally:
        fresh.unlink(missing_ok=True)
    return kept


def name_with_hash(name: str, content: bytes) -> str:
    """The file name under which a library of this content is kept."""
    return f"{name}-{hashlib.sha256(content).hexdigest()}.so"


def is_cut_short(library: bytes) -> bool:
    """Whether an ELF file ends before the table of its sections does, which stands last."""
    if not library.startswith(b"\x7fELF\x02") or len(library) < 64:
        return library.startswith(b"\x7fELF") and len(library) < 64
    (table,) = struct.unpack_from("<Q", library, 40)
    size, count = struct.unpack_from("<HH", library, 58)
    return len(library) < table + size * count
