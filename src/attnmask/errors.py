"""Every error that attnmask raises on purpose.

    AttnMaskError              one sentence: what is wrong; then where; then what to do
    ├── ArgumentError          an argument of a mask, of compile or of attention is not usable
    │   ├── AlignmentError     queries and keys differ in number and nothing says how they line up
    │   └── AmbiguousError     the input has two readings, and choosing one would be a guess
    ├── ExpressionError        the text of a mask expression cannot be read
    ├── CannotExpressError     a target cannot express the set; carries every reason
    ├── UnsupportedModelError  a model that cannot be run exactly under the mask
    └── InputFileError         a file of texts, or a model folder, cannot be used

All of them are also ``ValueError``, so that code which guards a call with
``except ValueError`` keeps working.
"""

from __future__ import annotations

from collections.abc import Sequence


class AttnMaskError(ValueError):
    """An error with three parts: what is wrong, where it is, and what to do about it.

    >>> print(AttnMaskError("lengths[2] is -1", where="padding(lengths=)", fix="counts are 0 or more"))
    lengths[2] is -1
      where: padding(lengths=)
      to do: counts are 0 or more
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  where: {self.where}"] if self.where else []
        lines += [f"  to do: {self.fix}"] if self.fix else []
        return "\n".join(lines)


class ArgumentError(AttnMaskError):
    """An argument is not usable."""


class AlignmentError(ArgumentError):
    """Queries and keys differ in number, and nothing says how they line up."""


class AmbiguousError(ArgumentError):
    """The input has two readings, and choosing one would be a guess."""


class ExpressionError(AttnMaskError):
    """The text of a mask expression cannot be read."""


class CannotExpressError(AttnMaskError):
    """A target cannot express the set; ``reasons`` holds every reason, not only the first."""

    def __init__(self, target: str, reasons: Sequence[str], *, fix: str = "") -> None:
        listed = "".join(f"\n  - {reason}" for reason in reasons)
        super().__init__(f"{target!r} cannot express this mask:{listed}", fix=fix)
        self.target, self.reasons = target, tuple(reasons)


class UnsupportedModelError(AttnMaskError):
    """A model that cannot be run exactly under the mask."""


class InputFileError(AttnMaskError):
    """A file of texts, or a model folder, cannot be used."""
