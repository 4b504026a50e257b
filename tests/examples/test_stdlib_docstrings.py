"""The corpus of the examples holds every public docstring, in order, and nothing else."""

import logging

import pytest

from examples.stdlib_docstrings import Docstring, stdlib_docstrings

SOURCE = '''
"""Module."""

class Public:
    """Class.

    Second line."""

    def method(self):
        """Method."""

    def __len__(self):
        """Dunder."""

    class Inner:
        async def method(self):
            """Inner method."""

class _Private:
    def method(self):
        """Of a private class."""

def function():
    """Function."""
    def inner():
        """Inside a function."""

try:
    import fast
except ImportError:
    def fallback():
        """Fallback."""
else:
    if fast:
        def chosen():
            """Chosen."""

def without():
    return 1
'''


@pytest.fixture
def library(tmp_path):
    def write(path: str, content: str | bytes) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    write.root = tmp_path
    return write


def names(root) -> list[str]:
    return [docstring.name for docstring in stdlib_docstrings(1, root)]


def test_docstrings_of_a_file_in_order(library):
    library("module.py", SOURCE)
    assert stdlib_docstrings(1, library.root) == [
        Docstring("module", "Module."),
        Docstring("module.Public", "Class.\n\nSecond line."),
        Docstring("module.Public.method", "Method."),
        Docstring("module.Public.Inner.method", "Inner method."),
        Docstring("module.function", "Function."),
        Docstring("module.fallback", "Fallback."),
        Docstring("module.chosen", "Chosen."),
    ]


def test_only_public_files_outside_tests(library):
    public = ["b/__init__.py", "b/__main__.py", "b/c/d.py", "a.py"]
    private = ["_a.py", "b/_c/d.py", "__phello__/x.py"]
    skipped = [f"{name}/x.py" for name in ("test", "b/tests", "b/idle_test", "site-packages", "ensurepip")]
    for path in public + private + skipped:
        library(path, '"Docstring."')
    assert names(library.root) == ["a", "b", "b.__main__", "b.c.d"]


def test_short_docstrings_are_left_out(library):
    library("a.py", '"1234"')
    library("b.py", '"12345"')
    assert [docstring.text for docstring in stdlib_docstrings(5, library.root)] == ["12345"]


def test_files_that_do_not_parse_are_named(library, caplog):
    library("a.py", "print 'Python 2'")
    library("b.py", b'"""\xff"""')
    library("c.py", '"An old \\escape."')
    with caplog.at_level(logging.WARNING):
        assert names(library.root) == ["c"]
    assert caplog.messages == ["skipped 2 files that do not parse: a.py, b.py"]
