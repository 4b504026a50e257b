"""The kernel's library: compiled once for a machine and its PyTorch, then found in the cache folder."""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import threading
import warnings
from functools import lru_cache
from pathlib import Path

import torch

SOURCES = Path(__file__).parent
FLAGS = (
    *("-O3", "-march=native", "-std=c++20", "-fPIC", "-shared", "-fopenmp", "-DAT_PARALLEL_OPENMP=1"),
    # Products and sums may be fused, and nobody reads errno or the floating-point exception flags.
    *("-ffp-contract=fast", "-mprefer-vector-width=512", "-fno-math-errno", "-fno-trapping-math"),
)
COMPILERS = ("g++", "clang++", "c++")
log = logging.getLogger("attnmask")
_one_at_a_time = threading.Lock()


class SlowAttentionWarning(UserWarning):
    """Attention runs, exactly but slower than it could; says what to install or set."""


def what_is_missing() -> str | None:
    """Load the kernel, compiled before or now; what stands in the way of it, or None.

    Warns once where a person can do something about it.
    """
    with _one_at_a_time:
        return _load()


@lru_cache(maxsize=1)
def _load() -> str | None:
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return "the processor has no AVX2"
    try:
        torch.ops.load_library(_library(cache_folder()))
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        first = next((line for line in said.splitlines() if "error" in line), said.strip()[:200])
        warnings.warn(
            SlowAttentionWarning(
                f"the native kernel cannot be built, attention uses torch's kernel instead: {first}; "
                "install a C++20 compiler (Debian: apt-get install g++), or name one in CXX"
            ),
            stacklevel=2,
        )
        return "the native kernel cannot be built"
    return _what_fails()


def cache_folder() -> Path:
    """Where compiled kernels are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attnmask"


def _library(folder: Path) -> Path:
    name = f"attention-{_key()}.so"
    if (folder / name).is_file():
        return folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _compiled(folder, name)
    except OSError as error:
        if not isinstance(error, PermissionError) and os.access(folder, os.W_OK):
            raise
    warnings.warn(
        SlowAttentionWarning(
            f"{folder} cannot be written, so every process compiles the native kernel anew (about 20 s); "
            "set XDG_CACHE_HOME to a folder that can be"
        ),
        stacklevel=2,
    )
    own = Path(tempfile.mkdtemp(prefix="attnmask-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return _compiled(own, name)


def _compiled(folder: Path, name: str) -> Path:
    """Compile into the folder; whoever finishes last replaces what others made, which is the same."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, COMPILERS), None)
    if compiler is None:
        raise FileNotFoundError(f"none of {', '.join(COMPILERS)} is installed")
    log.info("compiling the native kernel into %s, once for this machine", folder)
    home = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        made = Path(fresh) / name
        command = [*compiler.split(), *FLAGS, str(SOURCES / "attention.cpp"), "-o", str(made)]
        command += [f"-I{home / 'include'}", f"-I{home / 'include/torch/csrc/api/include'}"]
        command += [f"-L{home / 'lib'}", "-ltorch_cpu", "-lc10"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        made.replace(folder / name)
    return folder / name


def _key() -> str:
    """Changes with whatever the library depends on."""
    sources = [path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.suffix in (".cpp", ".h")]
    about = (*FLAGS, torch.__version__, platform.machine(), _processor())
    return hashlib.sha256(b"\0".join([*sources, *(part.encode() for part in about)])).hexdigest()[:16]


def _processor() -> str:
    """What code for this processor may use."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    return next((line for line in lines if line.startswith("flags")), platform.processor())


def _what_fails() -> str | None:
    """Whether PyTorch has the small matrix products on this processor."""
    ends = torch.tensor([0, 1], dtype=torch.int32)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(1, 1, 8, 16, dtype=dtype)
        runs = torch.arange(9, dtype=torch.int32), *(end.repeat(8) for end in ends)
        try:
            torch.ops.attnmask.forward(x, x, x, None, *runs, 1, 1.0, 0.0, 0.0, 0)
        except RuntimeError as error:
            return f"PyTorch has no small matrix products of {dtype} here: {str(error).splitlines()[0]}"
    return None
