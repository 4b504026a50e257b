"""Texts in, results out: the files that the command line reads and writes."""

from attnmask.files.picture_files import check_picture, import_figure, picture_suffix
from attnmask.files.text_files import Texts, read_texts
from attnmask.files.vector_files import check_output, write_embeddings
from attnmask.files.whole_files import check_target, whole_file, write_whole

__all__ = [
    "Texts",
    "check_output",
    "check_picture",
    "check_target",
    "import_figure",
    "picture_suffix",
    "read_texts",
    "whole_file",
    "write_embeddings",
    "write_whole",
]
