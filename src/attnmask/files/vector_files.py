"""Writing embeddings: a file is written completely or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from attnmask.errors import ArgumentError, InputFileError
from attnmask.escapes import escaped
from attnmask.files.text_files import Texts, import_pyarrow
from attnmask.files.whole_files import check_target, whole_file

SUFFIXES = (".npy", ".parquet")


def check_output(path: str | Path) -> None:
    """Find out before long work whether its result can be written.

    Args:
        path: the .npy or .parquet file to write; one that exists would be replaced.

    Raises:
        InputFileError: of another kind, a folder, in a folder that is missing or cannot be written to, or
            pyarrow is missing for a .parquet file.

    >>> check_output("embeddings.npy")
    """
    where, path = escaped(str(path)), Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputFileError(
            f"unknown kind of file {path.suffix!r}",
            where=where,
            fix=f"name it {' or '.join(SUFFIXES)}",
        )
    check_target(path)
    if path.suffix.lower() == ".parquet":
        import_pyarrow("pyarrow.parquet")


def write_embeddings(path: str | Path, embeddings: NDArray[np.float32], texts: Texts | None) -> None:
    """Write embeddings to a .npy file, or with their texts and line numbers to a .parquet file.

    A file that exists is replaced in one step, after the new one is complete and on the disk; when something
    goes wrong before, it stays as it was.

    Args:
        path: the file. A .npy file holds the array; a .parquet file the columns line (int64), text (string)
            and embedding (a list of D float32).
        embeddings: float32 (N, D), D at least 1.
        texts: the N texts; a .npy file does without.

    Raises:
        ArgumentError: the embeddings are not float32 (N, D) or not as many as the texts, or a .parquet file
            gets no texts.
        InputFileError: ``check_output`` refuses the path, or the disk fails or is full.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "embeddings.npy")
    >>> write_embeddings(file, np.ones((2, 3), np.float32), None)
    >>> np.load(file).shape
    (2, 3)
    """
    check_output(path)
    _check_embeddings(embeddings, texts)
    if texts is None and Path(path).suffix.lower() == ".parquet":
        raise ArgumentError("a .parquet file holds the texts too", where="write_embeddings(texts=)")
    try:
        with whole_file(path) as file:
            if texts is None or Path(path).suffix.lower() == ".npy":
                np.save(file, np.ascontiguousarray(embeddings), allow_pickle=False)
            else:
                _save_parquet(file, embeddings, texts)
    except OSError as error:
        raise InputFileError(f"cannot be written: {error.strerror or error}", where=escaped(str(path))) from error


def _check_embeddings(embeddings: NDArray[np.float32], texts: Texts | None) -> None:
    if embeddings.ndim != 2 or embeddings.dtype != np.float32:
        raise ArgumentError(
            f"embeddings are {embeddings.dtype} {embeddings.shape}",
            where="write_embeddings(embeddings=)",
            fix="give float32 (N, D)",
        )
    if texts is not None and len(texts.texts) != len(embeddings):
        raise ArgumentError(
            f"{len(embeddings)} embeddings for {len(texts.texts)} texts", where="write_embeddings(texts=)"
        )


def _save_parquet(file: BinaryIO, embeddings: NDArray[np.float32], texts: Texts) -> None:
    arrow, parquet = import_pyarrow("pyarrow"), import_pyarrow("pyarrow.parquet")
    vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(embeddings.ravel()), embeddings.shape[1])
    lines = arrow.array(texts.lines, arrow.int64())
    table = arrow.table({"line": lines, "text": arrow.array(texts.texts, arrow.string()), "embedding": vectors})
    parquet.write_table(table, file)
