"""Models that ask no AttentionInterface: under our name they run as under "eager", which is said."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

from transformers import AttentionInterface, PreTrainedModel

from attnmask.hf.implementation.model_mask import NAME
from attnmask.hf.implementation.transformers_patches import replace_attribute, replace_entry
from attnmask.hf.warnings_issued import OwnAttentionWarning


def patch_own_attention() -> None:
    """Let transformers make models of their own attention under "eager" where it is told our name.

    Under our name they would be handed masks that they add to scores, or invert.
    """
    check: Any = PreTrainedModel._check_and_adjust_attn_implementation  # pyright: ignore
    replace_attribute(PreTrainedModel, "_check_and_adjust_attn_implementation", _with_eager_fallback(check))


def _with_eager_fallback(original: Callable[..., str]) -> Callable[..., str]:
    @wraps(original)
    def check(self: Any, attn_implementation: str | None, *args: Any, **kwargs: Any) -> str:
        if attn_implementation == NAME:
            module = sys.modules.get(type(self).__module__)
            names = vars(module) if module else {}
            if self._can_set_attn_implementation() or _uses_interface(names):
                _fill_tables(names)
            else:
                warnings.warn(OwnAttentionWarning(type(self).__name__), stacklevel=3)
                attn_implementation = "eager"
        return original(self, attn_implementation, *args, **kwargs)

    return check


def _uses_interface(names: dict[str, Any]) -> bool:
    """Whether a module holds an interface: transformers looks for one way to ask it, in source that may be gone."""
    return any(isinstance(value, AttentionInterface) for value in names.values())


def _fill_tables(names: dict[str, Any]) -> None:
    """Let layers be chosen under our name where a module keeps them by implementation, as GIT does for its texts."""
    for name, table in names.items():
        if name.endswith("_ATTENTION_CLASSES") and NAME not in table:
            replace_entry(table, NAME, table["eager"])
