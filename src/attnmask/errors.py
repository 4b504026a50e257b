"""Every error that attnmask raises on purpose.

    AttnMaskError              one sentence: what is wrong; then where; then what to do
    ├── ArgumentError          an argument of a mask, of compile or of attention is not usable
    │   ├── AlignmentError     queries and keys differ in number and nothing says how they line up
    │   └── AmbiguousError     the input has two readings, and choosing one would be a guess
    ├── ExpressionError        the text of a mask expression cannot be read
    ├── CannotExpressError     a format cannot express the set; carries every reason
    ├── UnsupportedModelError  a model that cannot be run exactly under the mask
    ├── InputFileError         a file of texts, or a model folder, cannot be used
    └── MissingExtraError      a package that an extra of attnmask installs is not there; also an ImportError

All of them are also ``ValueError``, so that code which guards a call with
``except ValueError`` keeps working. Errors and warnings pickle and copy with all their attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Which extra installs a package.
EXTRAS = {
    "torch": "torch",
    "transformers": "hf",
    "tokenizers": "hf",
    "matplotlib": "draw",
    "typer": "cli",
    "rich": "cli",
    "pyarrow": "cli",
    "jax": "jax",
    "flax": "jax",
    "keras": "keras",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "xformers": "peers",
    "tokamax": "peers",
}


class Copied(BaseException):
    """An exception or warning that pickles and copies with all its attributes, whatever its constructor takes."""

    def __reduce__(self) -> Any:
        # BaseException calls the constructor with args, which hold the message alone.
        return _with_args, (type(self), self.args), self.__dict__


def _with_args(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    made = kind.__new__(kind, *args)
    made.args = args
    return made


class AttnMaskError(Copied, ValueError):
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
    """A format cannot express the set; ``reasons`` holds every reason, not only the first."""

    def __init__(self, format: str, reasons: Sequence[str], *, fix: str = "") -> None:
        listed = "".join(f"\n  - {reason}" for reason in reasons)
        super().__init__(f"{format!r} cannot express this mask:{listed}", fix=fix)
        self.format, self.reasons = format, tuple(reasons)


class UnsupportedModelError(AttnMaskError):
    """A model that cannot be run exactly under the mask."""


class InputFileError(AttnMaskError):
    """A file of texts, or a model folder, cannot be used."""


class MissingExtraError(AttnMaskError, ImportError):
    """A package that an extra of attnmask installs is not there.

    Attributes:
        package: its name. extra: the extra that installs it.

    >>> print(MissingExtraError("torch"))
    torch is not installed
      to do: pip install "attnmask[torch]"
    """

    def __init__(self, package: str, where: str = "") -> None:
        self.package, self.extra = package, EXTRAS[package]
        fix = f'pip install "attnmask[{self.extra}]"'
        super().__init__(f"{package} is not installed", where=where, fix=fix)


def missing_extra(error: ImportError, where: str = "") -> MissingExtraError | None:
    """What to say of a failed import; None if no extra installs what is missing."""
    package = (error.name or "").partition(".")[0]
    return MissingExtraError(package, where) if package in EXTRAS else None
