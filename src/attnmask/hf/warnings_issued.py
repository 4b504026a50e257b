"""The warning classes of ``attnmask.hf``, each of which can be filtered by its class."""

from __future__ import annotations

from collections.abc import Sequence

from attnmask.errors import Copied


class TruncationWarning(Copied, UserWarning):
    """Texts were cut at max_length.

    Attributes:
        count: number of texts cut. first: index of the first of them. max_length: number of tokens kept of each.
    """

    def __init__(self, count: int, first: int, max_length: int, total: int) -> None:
        super().__init__(f"{count} of {total} texts were cut at {max_length} tokens, the first is texts[{first}]")
        self.count, self.first, self.max_length = count, first, max_length


class WordNotFoundWarning(Copied, UserWarning):
    """Weighted words occur in no text, or only in the part that was cut off.

    Attributes:
        words: those words.
    """

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(f"no token belongs to {', '.join(map(repr, words))}: their weights change nothing")
        self.words = tuple(words)


class UnknownMaskWarning(Copied, UserWarning):
    """A mask function is not one that transformers builds; it was evaluated at every pair.

    Attributes:
        name: qualified name of the function.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the mask function {name} is unknown: it was evaluated at every pair, which is exact but slow"
        )
        self.name = name


class MaterializedMaskWarning(Copied, UserWarning):
    """A model computes with its mask, so that it was converted to bools: exact, but of size queries x keys.

    Attributes:
        operation: the operation that the model applied to the mask.
    """

    def __init__(self, operation: str) -> None:
        super().__init__(f"this model applies {operation} to its mask: it was converted to bools, exact but slower")
        self.operation = operation


class OwnAttentionWarning(Copied, UserWarning):
    """A model does not use the AttentionInterface: "eager" was set instead of ``attn_implementation="attnmask"``.

    Attributes:
        model: name of the model's class.
    """

    def __init__(self, model: str) -> None:
        super().__init__(
            f'{model} has its own attention code: attn_implementation="attnmask" has no effect, "eager" was set'
        )
        self.model = model


class UntestedVersionWarning(Copied, UserWarning):
    """attnmask is not tested with the installed version of transformers.

    Attributes:
        found: the installed version. tested: the minor versions that are tested.
    """

    def __init__(self, found: str, tested: Sequence[str]) -> None:
        super().__init__(
            f"transformers {found} is not tested with this attnmask, {', '.join(tested)} is: "
            'compare one batch with attn_implementation="eager", or install a tested version'
        )
        self.found, self.tested = found, tuple(tested)
