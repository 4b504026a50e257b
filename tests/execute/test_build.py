"""The kernel is compiled once; where it cannot be, attention says so once and runs all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import attnmask as am
from attnmask.execute.native import kernel_cache as cache
from attnmask.execute.native import kernel_library as build

CALL = """
import json, sys, warnings
import torch, attnmask as am
q = torch.randn(1, 2, 40, 8, generator=torch.Generator().manual_seed(0))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    outs = [am.attention(q, q, q, am.causal()) for _ in range(2)]
want = am.attention(q, q, q, am.causal(), backend="reference")
right = all(torch.allclose(out, want, rtol=1e-5, atol=1e-6) for out in outs)
said = [str(each.message) for each in caught]
print(json.dumps([str(am.compile(am.causal(), q=40).backend_for(q)), right, said]))
"""
Ask = Callable[..., tuple[str, bool, list[str]]]


def _start(cache: Path, **environment: str) -> subprocess.Popen[str]:
    own = {**os.environ, "XDG_CACHE_HOME": str(cache), **environment}
    return subprocess.Popen([sys.executable, "-c", CALL], env=own, stdout=subprocess.PIPE, text=True)


def _answer(process: subprocess.Popen[str]) -> tuple[str, bool, list[str]]:
    said = process.communicate(timeout=200)[0]
    backend, right, warned = json.loads(said)
    return backend, right, warned


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Ask]:
    """The same in this process, for what loads no kernel: as if attention had not been called yet."""

    def answer(**environment: str) -> tuple[str, bool, list[str]]:
        for name, value in {"XDG_CACHE_HOME": str(tmp_path), **environment}.items():
            monkeypatch.setenv(name, value)
        build._load.cache_clear()
        exec(CALL, {})
        backend, right, warned = json.loads(capsys.readouterr().out)
        return backend, right, warned

    yield answer
    monkeypatch.undo()
    build._load.cache_clear()


def test_without_a_compiler(ask: Ask) -> None:
    backend, right, warned = ask(PATH="", CXX="")
    assert backend == "tiled (native: the native kernel cannot be built)"
    assert right
    assert len(warned) == 1
    assert "none of g++, clang++, c++ is installed" in warned[0]
    assert "apt-get install g++" in warned[0]


def test_with_a_compiler_that_fails(tmp_path: Path, ask: Ask) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'x.h:1: fatal error: no such thing' >&2\nexit 1\n")
    broken.chmod(0o755)
    backend, right, warned = ask(CXX=str(broken))
    assert backend.startswith("tiled")
    assert right
    assert len(warned) == 1
    assert "fatal error: no such thing" in warned[0]


@pytest.fixture
def quick(tmp_path: Path) -> str:
    """A compiler that needs no minute: it hands out the kernel that the real one made for the other tests."""
    folder = cache.cache_folder()
    assert build.what_is_missing() is None
    made = cache.kept_libraries(folder, f"attention-{build._key()}") if folder else []
    if not made:  # this machine keeps none
        return ""
    compiler = tmp_path / "quick"
    compiler.write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; sleep 1; cp "{made[0]}" "$2"\n')
    compiler.chmod(0o755)
    return str(compiler)


def test_two_processes_at_once_and_a_third_that_finds_it_made(tmp_path: Path, quick: str) -> None:
    for process in [_start(tmp_path, CXX=quick), _start(tmp_path, CXX=quick)]:
        assert _answer(process) == ("native", True, [])
    kept = list((tmp_path / "attnmask").iterdir())
    assert 1 <= len(kept) <= 2
    assert all(path.suffix == ".so" for path in kept)
    assert _answer(_start(tmp_path, PATH="", CXX="")) == ("native", True, [])


def test_a_cache_folder_that_cannot_be_written(tmp_path: Path, quick: str) -> None:
    (tmp_path / "file").write_text("")
    backend, right, warned = _answer(_start(tmp_path / "file", TMPDIR=str(tmp_path), CXX=quick))
    assert (backend, right) == ("native", True)
    assert len(warned) == 1
    assert "set XDG_CACHE_HOME" in warned[0]
    assert not list(tmp_path.glob("attnmask-*"))


LESSER = """
import torch, attnmask as am
plan = am.compile(am.causal() & am.window(left=30, right=0), q=70)
for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
    q, k, v, grad = (torch.randn(1, 2, 70, 16, generator=torch.Generator().manual_seed(i)).to(dtype) for i in range(4))
    leaves = [x.requires_grad_() for x in (q, k, v)]
    results = []
    for backend in ("native", "dense"):
        out = am.attention(*leaves, plan, backend=backend)
        results.append([out, *torch.autograd.grad(out, leaves, grad)])
    for one, other in zip(*results):
        assert one.dtype == dtype
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
"""


@pytest.mark.parametrize("most", ["AVX2", "AVX512_CORE"])
def test_a_processor_without_products_of_bfloat16(most: str) -> None:
    # oneDNN, which makes PyTorch's small products, believes to run on an older processor.
    subprocess.run([sys.executable, "-c", LESSER], env={**os.environ, "ONEDNN_MAX_CPU_ISA": most}, check=True)


def test_backend_for_names_every_reason() -> None:
    import torch

    plan = am.compile(am.causal(), q=4)
    half = torch.zeros(1, 1, 4, 8, dtype=torch.float16)
    assert str(plan.backend_for(half[..., :2].float())) == "native"
    assert plan.backend_for(half).name == "tiled"
    assert "torch.float16" in plan.backend_for(half).why
    with pytest.raises(am.AttnMaskError, match="on meta"):
        plan.backend_for(half.to("meta"))


FAKES = {
    "says nothing": ("exit 1", "exit status 1"),
    "speaks no UTF-8": ("printf 'x: error: \\377\\376\\n' >&2; exit 1", "error:"),
    "is killed": ("kill -9 $$", "was killed by signal 9"),
    "writes nothing": ("exit 0", "wrote no whole library"),
    "writes nonsense": ('while [ "$1" != -o ]; do shift; done; echo text > "$2"', "attention uses torch's kernel"),
    "is cut short": (
        'while [ "$1" != -o ]; do shift; done; head -c 2000 "$(readlink -f /proc/self/exe)" > "$2"',
        "wrote no whole library",
    ),
}


@pytest.mark.parametrize("name", FAKES)
def test_a_compiler_that_fails_in_any_way(name: str, tmp_path: Path, ask: Ask) -> None:
    script, said = FAKES[name]
    compiler = tmp_path / "fake compiler"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    backend, right, warned = ask(CXX=f"'{compiler}'")
    assert backend == "tiled (native: the native kernel cannot be built)"
    assert right
    assert len(warned) == 1
    assert said in warned[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "attnmask"
    made.mkdir(mode=0o700)
    return made


def test_only_whole_libraries_of_this_user_are_loaded(folder: Path) -> None:
    library = folder.parent / "library"
    library.write_bytes(b"content" * 1000)
    kept = cache.keep(library, folder, "a")
    assert cache.kept_libraries(folder, "a") == [kept]
    kept.chmod(0o666)
    assert cache.kept_libraries(folder, "a") == []
    kept.chmod(0o600)
    for broken in (b"", b"content", b"other"):
        kept.write_bytes(broken)
        assert cache.kept_libraries(folder, "a") == []
        assert not kept.exists()
    kept.symlink_to(library)
    assert cache.kept_libraries(folder, "a") == []


def test_a_folder_that_others_can_write_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.against_folder(folder) is None
    folder.chmod(0o777)
    assert "can be written by others" in str(cache.against_folder(folder))
    folder.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 1 + os.getuid())
    assert "belongs to another user" in str(cache.against_folder(folder))
    assert cache.against_folder(None) == "there is no home folder"


def test_the_folder_follows_the_specification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, want in (
        (str(tmp_path / "x"), tmp_path / "x"),
        ("relative", tmp_path / ".cache"),
        ("", tmp_path / ".cache"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert cache.cache_folder() == want / "attnmask"

    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    assert cache.cache_folder() is None


def test_a_slow_compiler_shows_that_it_runs_and_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build, "SIGN_OF_LIFE", 0.1)
    monkeypatch.setattr(build, "LONGEST", 0.3)
    with pytest.raises(build._BuildError) as error:
        build._run(["sh", "-c", "sleep 60 & wait"], tmp_path / "said")
    assert "did not end" in error.value.what
    assert len(caplog.messages) == 3


def test_an_elf_file_that_is_cut_short_is_seen() -> None:
    library = Path(sys.executable).resolve().read_bytes()
    if library.startswith(b"\x7fELF"):
        assert not cache.is_cut_short(library)
        assert all(cache.is_cut_short(library[:size]) for size in (10, 1000, len(library) - 1))
    assert not cache.is_cut_short(b"text")
