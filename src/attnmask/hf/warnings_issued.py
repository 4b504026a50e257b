"""The warnings of this folder: what was not done as asked, or not as fast, each under a name that can be filtered."""

from __future__ import annotations

from collections.abc import Sequence

from attnmask.errors import Copied


class TruncationWarning(Copied, UserWarning):
    """Texts were cut at max_length.

    Attributes:
        count: number of texts cut. first: index of the first of them. max_length: tokens that were kept of each.
    """

    def __init__(self, count: int, first: int, max_length: int, total: int) -> None:
        super().__init__(f"{count} of {total} texts were cut at {max_length} tokens, the first is texts[{first}]")
        self.count, self.first, self.max_length = count, first, max_length


class WordNotFoundWarning(Copied, UserWarning):
    """Words with a weight occur in no text, or only in what was cut off.

    Attributes:
        words: those words, as they were given.
    """

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(f"no token belongs to {', '.join(map(repr, words))}: their weights change nothing")
        self.words = tuple(words)


class UnknownMaskWarning(Copied, UserWarning):
    """A mask function is none of those that transformers builds; it was evaluated at every pair.

    Attributes:
        name: qualified name of the function.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the mask function {name} is unknown: it is exact all the same, evaluated at every pair")
        self.name = name


class MaterializedMaskWarning(Copied, UserWarning):
    """A model takes its mask apart, so the pairs were written out: exact, but queries x keys.

    Attributes:
        operation: what the model did to the mask.
    """

    def __init__(self, operation: str) -> None:
        super().__init__(f"this model does {operation} to its mask: it is exact all the same, all pairs written out")
        self.operation = operation


class OwnAttentionWarning(Copied, UserWarning):
    """A model asks no AttentionInterface: ``attn_implementation="attnmask"`` was taken for "eager".

    Attributes:
        model: name of its class.
    """

    def __init__(self, model: str) -> None:
        super().__init__(
            f'{model} runs attention of its own: attn_implementation="attnmask" does nothing for it, "eager" was set'
        )
        self.model = model


class UntestedVersionWarning(Copied, UserWarning):
    """transformers is of a version with which attnmask is not tested.

    Attributes:
        found: its version. tested: the minor versions that are tested.
    """

    def __init__(self, found: str, tested: Sequence[str]) -> None:
        super().__init__(
            f"transformers {found} is not tested with this attnmask, {', '.join(tested)} is: "
            'compare one batch with attn_implementation="eager", or install a tested version'
        )
        self.found, self.tested = found, tuple(tested)
