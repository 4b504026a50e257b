"""Picture files: which kinds can be written, and which package each needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnmask.errors import ArgumentError, MissingExtraError
from attnmask.escapes import escaped
from attnmask.files.whole_files import check_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")


def check_picture(path: str | Path) -> None:
    """Find out before long work whether a picture can be written.

    Args:
        path: of a .png, .svg or .pdf file; one that exists would be replaced.

    Raises:
        ArgumentError: another kind of file.
        AttnMaskError: no file can be written there, or matplotlib is missing.
    """
    picture_suffix(path)
    check_target(path)
    import_figure()


def picture_suffix(path: str | Path) -> str:
    """The kind of a picture by the name of its file, such as ".png".

    >>> picture_suffix("mask.SVG")
    '.svg'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ArgumentError(
            f"{escaped(suffix) or 'no extension'} is not a kind of picture that can be written",
            where=escaped(str(path)),
            fix=f"name it {', '.join(SUFFIXES)}",
        )
    return suffix


def import_figure() -> type[Figure]:
    """matplotlib's class of a figure that belongs to no window."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "a picture") from error
    return Figure
