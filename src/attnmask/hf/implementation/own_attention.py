"""Run models that do not use the AttentionInterface under "eager" instead of "attnmask", with a warning."""

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
    """Patch transformers so that models with their own attention code run under "eager" instead of "attnmask".

    Under "attnmask" such a model would receive a ModelMask, which its code would add to scores or invert.
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
    """Return whether a module has an AttentionInterface among its globals.

    transformers searches the module's source for one spelling of the call, and the source may not be available.
    """
    return any(isinstance(value, AttentionInterface) for value in names.values())


def _fill_tables(names: dict[str, Any]) -> None:
    """Enter "attnmask" in tables from implementation to layer class, as GIT has one for its text layers."""
    for name, table in names.items():
        if name.endswith("_ATTENTION_CLASSES") and NAME not in table:
            replace_entry(table, NAME, table["eager"])
