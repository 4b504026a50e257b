"""attnmask: describe an attention mask once, as a set of (query, key) pairs, and use it everywhere."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attnmask.compile import Plan as Plan
from attnmask.compile import compile as compile
from attnmask.errors import AttnMaskError as AttnMaskError
from attnmask.mask.atoms import causal as causal
from attnmask.mask.atoms import dense as dense
from attnmask.mask.atoms import documents as documents
from attnmask.mask.atoms import empty as empty
from attnmask.mask.atoms import full as full
from attnmask.mask.atoms import padding as padding
from attnmask.mask.atoms import prefix as prefix
from attnmask.mask.atoms import window as window
from attnmask.mask.expr import Mask as Mask
from attnmask.mask.parse import mask_from_text as mask_from_text
from attnmask.targets import lift as lift
from attnmask.targets import targets as targets

if TYPE_CHECKING:
    from attnmask import hf as hf
    from attnmask.execute import attention as attention

_LAZY = {"attention": ("attnmask.execute", "attention"), "hf": ("attnmask.hf", None)}


def __getattr__(name: str) -> Any:
    # torch and transformers take seconds to load; only who asks for what needs them pays.
    if name not in _LAZY:
        raise AttributeError(f"module 'attnmask' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    loaded = import_module(module)
    return loaded if attribute is None else getattr(loaded, attribute)
