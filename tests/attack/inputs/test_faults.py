"""Kernels that were cut short, and processes that are killed while they write."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from attnmask.execute.native import kernel_cache as cache
from attnmask.execute.native import kernel_library as build

ATTENTION = """
import warnings
import torch, attnmask as am
warnings.simplefilter("ignore")
q, k, v = (torch.randn(1, 2, 9, 4) for _ in range(3))
got, want = (am.attention(q, k, v, am.causal(), backend=name) for name in ("auto", "reference"))
assert torch.allclose(got, want, atol=1e-5)
"""
WRITING = """
import sys
import numpy as np
from attnmask.files import write_embeddings
for number in range(1, 10**6):
    write_embeddings(sys.argv[1], np.full((2000, 500), number, np.float32), None)
    print(number, flush=True)
"""


@pytest.mark.parametrize("size", [0, 100_000])
def test_a_kernel_that_was_cut_short_is_not_loaded(size: int, tmp_path: Path) -> None:
    folder = cache.cache_folder()
    if build.what_is_missing() is not None or folder is None:
        pytest.skip("there is no kernel to cut")
    shutil.copytree(folder, tmp_path / "attnmask")
    for kernel in (tmp_path / "attnmask").rglob("*.so"):
        os.truncate(kernel, size)
    # Without a compiler it cannot be made again, and another backend has to do.
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "CXX": "/nowhere/g++"}
    ran = subprocess.run([sys.executable, "-c", ATTENTION], env=environment, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("kill", range(2))
def test_a_file_is_whole_whenever_its_writer_is_killed(kill: int, tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npy"
    writer = subprocess.Popen([sys.executable, "-c", WRITING, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    # Some moment within a second or third writing.
    time.sleep(0.02 + 0.007 * kill)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    read = np.load(path)
    assert read.shape == (2000, 500)
    assert (read == read[0, 0]).all()
