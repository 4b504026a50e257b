"""Texts in, results out: the files that the command line reads and writes."""

from attnmask.files.pictures import check_picture, import_figure, picture_suffix
from attnmask.files.read import Texts, read_texts
from attnmask.files.whole import check_target, whole_file, write_whole
from attnmask.files.write import check_output, write_embeddings

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
