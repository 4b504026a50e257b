"""Models that ask no AttentionInterface: the string changes nothing in them, which is said."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from transformers import PreTrainedModel

from attnmask.hf.model_mask import NAME
from attnmask.hf.notices import OwnAttentionWarning


@cache
def warn_of_own_attention() -> None:
    """Let transformers warn where a model is loaded or made under our name for nothing; once, however often called."""
    check: Any = PreTrainedModel._check_and_adjust_attn_implementation  # pyright: ignore
    PreTrainedModel._check_and_adjust_attn_implementation = _warning(check)  # pyright: ignore


def _warning(original: Callable[..., str]) -> Callable[..., str]:
    @wraps(original)
    def check(self: Any, attn_implementation: str | None, *args: Any, **kwargs: Any) -> str:
        if attn_implementation == NAME and not self._can_set_attn_implementation():
            warnings.warn(OwnAttentionWarning(type(self).__name__), stacklevel=3)
        return original(self, attn_implementation, *args, **kwargs)

    return check
