"""Texts in, embeddings out: the files that the command line reads and writes."""

from attnmask.files.read import Texts, read_texts
from attnmask.files.write import check_output, write_embeddings

__all__ = ["Texts", "check_output", "read_texts", "write_embeddings"]
