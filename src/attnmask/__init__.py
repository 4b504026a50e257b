"""attnmask: describe an attention mask once, as a set of (query, key) pairs, and use it everywhere."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attnmask.audit import audit as audit
from attnmask.audit import trace as trace
from attnmask.calls import attribute_of
from attnmask.compile import Plan as Plan
from attnmask.compile import compile as compile
from attnmask.errors import AttnMaskError as AttnMaskError
from attnmask.errors import MissingExtraError as MissingExtraError
from attnmask.mask.atoms import bigbird_layout as bigbird_layout
from attnmask.mask.atoms import block_causal as block_causal
from attnmask.mask.atoms import block_diffusion as block_diffusion
from attnmask.mask.atoms import blocks as blocks
from attnmask.mask.atoms import causal as causal
from attnmask.mask.atoms import chunked as chunked
from attnmask.mask.atoms import cross_documents as cross_documents
from attnmask.mask.atoms import cross_padding as cross_padding
from attnmask.mask.atoms import dense as dense
from attnmask.mask.atoms import dilated as dilated
from attnmask.mask.atoms import documents as documents
from attnmask.mask.atoms import empty as empty
from attnmask.mask.atoms import full as full
from attnmask.mask.atoms import global_tokens as global_tokens
from attnmask.mask.atoms import grid as grid
from attnmask.mask.atoms import padding as padding
from attnmask.mask.atoms import per_head as per_head
from attnmask.mask.atoms import placed as placed
from attnmask.mask.atoms import preceding_images as preceding_images
from attnmask.mask.atoms import predicate as predicate
from attnmask.mask.atoms import prefix as prefix
from attnmask.mask.atoms import shared_prefix as shared_prefix
from attnmask.mask.atoms import sinks as sinks
from attnmask.mask.atoms import spans as spans
from attnmask.mask.atoms import tree as tree
from attnmask.mask.atoms import window as window
from attnmask.mask.expr import Mask as Mask
from attnmask.mask.parse import mask_from_text as mask_from_text
from attnmask.targets import lift as lift
from attnmask.targets import targets as targets

if TYPE_CHECKING:
    from attnmask import hf as hf
    from attnmask.audit.collators import audit_collator as audit_collator
    from attnmask.audit.metrics import audit_metric as audit_metric
    from attnmask.execute import attention as attention

# torch and transformers take seconds to load; only who asks for what needs them pays.
_LAZY = {
    "attention": "attnmask.execute",
    "audit_collator": "attnmask.audit.collators",
    "audit_metric": "attnmask.audit.metrics",
}
__all__ = [
    "AttnMaskError",
    "Mask",
    "MissingExtraError",
    "Plan",
    "attention",
    "audit",
    "audit_collator",
    "audit_metric",
    "bigbird_layout",
    "block_causal",
    "block_diffusion",
    "blocks",
    "causal",
    "chunked",
    "compile",
    "cross_documents",
    "cross_padding",
    "dense",
    "dilated",
    "documents",
    "empty",
    "full",
    "global_tokens",
    "grid",
    "hf",
    "lift",
    "mask_from_text",
    "padding",
    "per_head",
    "placed",
    "preceding_images",
    "predicate",
    "prefix",
    "shared_prefix",
    "sinks",
    "spans",
    "targets",
    "trace",
    "tree",
    "window",
]


def __getattr__(name: str) -> Any:
    if name == "hf":
        return import_module("attnmask.hf")
    if name == "__version__":
        from importlib.metadata import version

        return version("attnmask")
    if name not in _LAZY:
        raise AttributeError(f"module 'attnmask' has no attribute {name!r}")
    return attribute_of(_LAZY[name], name)


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name.startswith("__"))})
