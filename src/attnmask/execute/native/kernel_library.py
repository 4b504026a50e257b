"""The kernel's shared library: compiled once for a machine and its PyTorch, then loaded from the cache."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from attnmask.execute.native.kernel_cache import against_folder, cache_folder, is_cut_short, keep, kept_libraries

SOURCES = Path(__file__).parent
FLAGS = (
    *("-O3", "-march=native", "-std=c++20", "-fPIC", "-shared", "-fopenmp", "-DAT_PARALLEL_OPENMP=1"),
    # Products and sums may be fused, and nobody reads errno or the floating-point exception flags.
    *("-ffp-contract=fast", "-mprefer-vector-width=512", "-fno-math-errno", "-fno-trapping-math"),
)
COMPILERS = ("g++", "clang++", "c++")
INSTALL = "install a C++20 compiler (Debian: apt-get install g++), or name one in CXX"
# Seconds: between two signs of life, and until a compiler is given up.
SIGN_OF_LIFE, LONGEST = 10, 600
# Its warnings reach stderr unless a program says otherwise: a library that compiles must not seem to hang.
log = logging.getLogger("attnmask")


class SlowAttentionWarning(UserWarning):
    """Attention runs, exactly but slower than it could; says what to install or set."""


class _BuildError(Exception):
    """What keeps the kernel from being built, and what to do about it."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.what, self.fix = what, fix


@dataclass
class _Outcome:
    """Why the kernel is not there, or None, and what is still to be said to the user."""

    missing: str | None = None
    warning: str | None = None


class _OneAtATime:
    lock = threading.Lock()


def _forget_lock() -> None:
    # The thread that held it does not exist in a forked process.
    _OneAtATime.lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)


def what_is_missing() -> str | None:
    """Load the kernel, compiled before or now; what stands in the way of it, or None.

    The first compilation is announced on the logger "attnmask". Warns once where a person can do something.
    """
    with _OneAtATime.lock:
        outcome = _load()
        warning, outcome.warning = outcome.warning, None
    if warning is not None:
        warnings.warn(SlowAttentionWarning(warning), stacklevel=2)
    return outcome.missing


@lru_cache(maxsize=1)
def _load() -> _Outcome:
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return _Outcome("the processor has no AVX2")
    try:
        warning = _load_kept_or_compiled()
    except _BuildError as error:
        return _Outcome(
            "the native kernel cannot be built",
            f"the native kernel cannot be built, attention uses torch's kernel instead: {error.what}; {error.fix}",
        )
    return _Outcome(_what_fails(), warning)


def _load_kept_or_compiled() -> str | None:
    """Load the library; why it could not be kept for the next process, in a sentence, or None."""
    folder, name = cache_folder(), f"attention-{_key()}"
    against = against_folder(folder)
    for library in [] if folder is None or against else kept_libraries(folder, name):
        # One that does not load, as after a change of the system's libraries, is compiled anew.
        with suppress(OSError):
            torch.ops.load_library(library)
            return None
    try:
        with tempfile.TemporaryDirectory(prefix="attnmask-") as fresh:
            library = _compiled(Path(fresh))
            if folder is not None and against is None:
                try:
                    library = keep(library, folder, name)
                except OSError as error:
                    against = f"{folder} cannot be written: {error.strerror}"
            torch.ops.load_library(library)
    except OSError as error:
        raise _BuildError(
            _printable(str(error)), "set TMPDIR to a folder with room, from which libraries load"
        ) from None
    if against is None:
        return None
    return (
        f"{against}, so every process compiles the native kernel anew (about 20 s); "
        "set XDG_CACHE_HOME to a folder that this user alone can write"
    )


def _compiled(folder: Path) -> Path:
    """Compile into a folder.

    Raises:
        _BuildError: there is no compiler, or it fails.
    """
    compiler, home, made = _compiler(), Path(torch.__file__).parent, folder / "attention.so"
    command = [*compiler, *FLAGS, str(SOURCES / "attention.cpp"), "-o", str(made)]
    command += [f"-I{home / 'include'}", f"-I{home / 'include/torch/csrc/api/include'}"]
    command += [f"-L{home / 'lib'}", "-ltorch_cpu", "-lc10"]
    log.warning("attnmask compiles its native kernel with %s, once for this machine: about 20 s", compiler[0])
    status, said = _run(command, folder / "said")
    if status < 0:
        raise _BuildError(f"{compiler[0]} was killed by signal {-status}", "free memory, and start again")
    if status > 0:
        raise _BuildError(f"{compiler[0]} says: {said or f'exit status {status}'}", INSTALL)
    if not made.is_file() or not (content := made.read_bytes()) or is_cut_short(content):
        raise _BuildError(f"{compiler[0]} wrote no whole library", "set TMPDIR to a folder with room, or " + INSTALL)
    log.warning("attnmask has compiled its native kernel")
    return made


def _compiler() -> list[str]:
    """The compiler's command: that of CXX, or the first that is installed."""
    try:
        command = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise _BuildError(f"CXX is {os.environ['CXX']!r}: {error}", "name a compiler in CXX") from None
    found = next(filter(shutil.which, COMPILERS), None)
    if not command and found is None:
        raise _BuildError(f"none of {', '.join(COMPILERS)} is installed", INSTALL)
    return command or [str(found)]


def _run(command: list[str], output: Path) -> tuple[int, str]:
    """Run a compiler, showing that it runs; its exit status and the line that says most."""
    with output.open("wb") as said:
        try:
            # English, and a group of its own, for a compiler's own processes end with it.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            raise _BuildError(f"{command[0]} cannot be run: {error.strerror}", INSTALL) from None
        try:
            status = _wait(process, command[0])
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    return status, _line_that_says_most(output.read_bytes().decode(errors="replace"))


def _wait(process: subprocess.Popen[bytes], compiler: str) -> int:
    waited = 0.0
    while waited < LONGEST:
        try:
            return process.wait(SIGN_OF_LIFE)
        except subprocess.TimeoutExpired:
            waited += SIGN_OF_LIFE
            log.warning("attnmask still compiles its native kernel (%.0f s)", waited)
    raise _BuildError(f"{compiler} did not end within {LONGEST} s", "start again when the machine is less busy")


def _line_that_says_most(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return _printable(next((line for line in lines if "error" in line), lines[0] if lines else ""))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def _key() -> str:
    """Changes with whatever the library depends on."""
    sources = [path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.suffix in (".cpp", ".h")]
    about = (*FLAGS, torch.__version__, platform.machine(), _processor())
    return hashlib.sha256(b"\0".join([*sources, *(part.encode() for part in about)])).hexdigest()[:16]


def _processor() -> str:
    """What code for this processor may use."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(errors="replace").splitlines() if about.is_file() else []
    return next((line for line in lines if line.startswith("flags")), platform.processor())


def _what_fails() -> str | None:
    """Whether PyTorch has the small matrix products on this processor."""
    ends = torch.tensor([0, 1], dtype=torch.int32, device="cpu")
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(1, 1, 8, 16, dtype=dtype, device="cpu")
        runs = torch.arange(9, dtype=torch.int32, device="cpu"), *(end.repeat(8) for end in ends)
        try:
            torch.ops.attnmask.forward(x, x, x, None, *runs, 1, 1.0, 0.0, 0.0, 0)
        except RuntimeError as error:
            return f"PyTorch has no small matrix products of {dtype} here: {str(error).splitlines()[0]}"
    return None
