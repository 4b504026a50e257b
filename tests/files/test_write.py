"""A file of embeddings is whole or not there, whatever interrupts the writing."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from attnmask.errors import ArgumentError, InputFileError
from attnmask.files import Texts, check_output, write_embeddings

EMBEDDINGS = np.arange(6, dtype=np.float32).reshape(2, 3)
TEXTS = Texts(["to be", "or nöt"], [1, 4], "a.txt")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def names() -> list[str]:
    return sorted(os.listdir())


def test_npy():
    write_embeddings("a.npy", EMBEDDINGS, TEXTS)
    read = np.load("a.npy")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, EMBEDDINGS)
    assert names() == ["a.npy"]


def test_npy_of_an_array_in_column_order_is_plain():
    write_embeddings("a.npy", np.asfortranarray(EMBEDDINGS), None)
    assert b"'fortran_order': False" in Path("a.npy").read_bytes()
    np.testing.assert_array_equal(np.load("a.npy"), EMBEDDINGS)


def test_parquet():
    write_embeddings("a.parquet", np.asfortranarray(EMBEDDINGS), TEXTS)
    table = pq.read_table("a.parquet")
    assert [f"{field.name} {field.type}" for field in table.schema] == [
        "line int64",
        "text string",
        "embedding fixed_size_list<element: float>[3]",
    ]
    assert table["line"].to_pylist() == [1, 4]
    assert table["text"].to_pylist() == ["to be", "or nöt"]
    np.testing.assert_array_equal(table["embedding"].to_pylist(), EMBEDDINGS)
    assert names() == ["a.parquet"]


def test_a_file_that_exists_is_replaced_and_a_link_stays_one():
    Path("folder").mkdir()
    Path("folder/a.npy").write_text("old")
    os.symlink("folder/a.npy", "link.npy")
    write_embeddings("link.npy", EMBEDDINGS, None)
    assert Path("link.npy").is_symlink()
    np.testing.assert_array_equal(np.load("folder/a.npy"), EMBEDDINGS)


def test_others_can_read_the_file_as_far_as_umask_lets_them():
    before = os.umask(0o022)
    try:
        write_embeddings("a.npy", EMBEDDINGS, None)
    finally:
        os.umask(before)
    assert Path("a.npy").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("name", ["a.npy", "a.parquet"])
def test_interrupted(monkeypatch, name, error):
    def interrupt(_: int) -> None:
        raise error

    Path(name).write_text("old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(error):
        write_embeddings(name, EMBEDDINGS, TEXTS)
    assert Path(name).read_text() == "old"
    assert names() == [name]


@pytest.mark.parametrize("name", ["a.npy", "a.parquet"])
def test_no_room(name):
    Path(name).write_text("old")
    noise = np.random.default_rng(0).random((2, 10_000), dtype=np.float32)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(InputFileError, match=rf"^cannot be written: .+\n  where: {name}$"):
            write_embeddings(name, noise, TEXTS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Path(name).read_text() == "old"
    assert names() == [name]


KILLED = """
import os, signal
import numpy as np
from attnmask.files import write_embeddings
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGTERM)
write_embeddings("a.npy", np.ones((2, 3), np.float32), None)
"""


def test_killed_before_the_end():
    Path("a.npy").write_text("old")
    run = subprocess.run([sys.executable, "-c", KILLED], check=False)
    assert run.returncode == -signal.SIGTERM
    assert Path("a.npy").read_text() == "old"


BAD_OUTPUT = {
    "a.csv": ("unknown kind of file '.csv'\n  where: a.csv\n  to do: name it .npy or .parquet"),
    "a": "unknown kind of file ''\n  where: a\n  to do: name it .npy or .parquet",
    "folder.npy": "this is a folder\n  where: folder.npy\n  to do: name a file in it",
    "gone/a.npy": ("the folder of the file does not exist\n  where: gone/a.npy\n  to do: mkdir -p gone"),
    "file.npy/a.npy": ("the folder of the file does not exist\n  where: file.npy/a.npy\n  to do: mkdir -p file.npy"),
}


@pytest.mark.parametrize("path", BAD_OUTPUT)
def test_output_is_refused(path):
    Path("folder.npy").mkdir()
    Path("file.npy").touch()
    for refuse in (lambda: check_output(path), lambda: write_embeddings(path, EMBEDDINGS, TEXTS)):
        with pytest.raises(InputFileError) as raised:
            refuse()
        assert str(raised.value) == BAD_OUTPUT[path]


def test_folder_that_cannot_be_written_to(monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as root every folder can
    with pytest.raises(InputFileError, match=r"^the folder of the file cannot be written to\n  where: a\.npy$"):
        check_output("a.npy")


def test_parquet_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    check_output("a.npy")
    with pytest.raises(InputFileError, match=r"pip install 'attnmask\[cli\]'"):
        check_output("a.parquet")


def test_output_that_can_be_written_is_not_touched():
    Path("a.npy").write_text("old")
    check_output("a.npy")
    check_output(Path("b.PARQUET").absolute())
    assert names() == ["a.npy"]
    assert Path("a.npy").read_text() == "old"


@pytest.mark.parametrize(
    ("path", "embeddings", "texts", "what"),
    [
        ("a.npy", EMBEDDINGS[0], None, r"embeddings are float32 \(3,\)"),
        ("a.npy", EMBEDDINGS.astype(np.float64), None, r"embeddings are float64 \(2, 3\)"),
        ("a.npy", EMBEDDINGS[:1], TEXTS, "1 embeddings for 2 texts"),
        ("a.parquet", EMBEDDINGS, None, "a .parquet file holds the texts too"),
    ],
)
def test_arguments_that_do_not_fit(path, embeddings, texts, what):
    with pytest.raises(ArgumentError, match=f"^{what}"):
        write_embeddings(path, embeddings, texts)
    assert names() == []
