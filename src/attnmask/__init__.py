"""attnmask: describe an attention mask once, as a set of (query, key) pairs, and use it everywhere."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attnmask.auditing import audit as audit
from attnmask.auditing import trace as trace
from attnmask.calls import load_attribute
from attnmask.compiler import Plan as Plan
from attnmask.compiler import compile as compile
from attnmask.errors import AttnMaskError as AttnMaskError
from attnmask.errors import MissingExtraError as MissingExtraError
from attnmask.formats import lift as lift
from attnmask.formats import lower, reasons_by_format
from attnmask.mask import atoms
from attnmask.mask.atoms import *  # noqa: F403
from attnmask.mask.expression import Mask as Mask
from attnmask.mask.mask_json import json_from_mask, mask_from_json
from attnmask.mask.parse_text import mask_from_text as mask_from_text
from attnmask.registered import register_functions

if TYPE_CHECKING:
    from attnmask import hf as hf
    from attnmask.auditing.data.collators import audit_collator as audit_collator
    from attnmask.auditing.data.metrics import audit_metric as audit_metric
    from attnmask.execute import attention as attention

# torch and transformers take seconds to load; only who asks for what needs them pays.
_LAZY = {
    "attention": "attnmask.execute",
    "audit_collator": "attnmask.auditing.data.collators",
    "audit_metric": "attnmask.auditing.data.metrics",
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
    "compile",
    "hf",
    "lift",
    "mask_from_text",
    "trace",
]
__all__ += atoms.__all__


def _backend_for_queries(q: Any, plan: Plan) -> Any:
    return load_attribute("attnmask.execute.backend_choice", "backend_for_queries")(q, plan)


register_functions(
    json_from_mask=json_from_mask,
    mask_from_json=mask_from_json,
    lower=lower,
    reasons_by_format=reasons_by_format,
    backend_for_queries=_backend_for_queries,
)


def __getattr__(name: str) -> Any:
    if name == "hf":
        return import_module("attnmask.hf")
    if name == "__version__":
        from importlib.metadata import version

        return version("attnmask")
    if name not in _LAZY:
        raise AttributeError(f"module 'attnmask' has no attribute {name!r}")
    return load_attribute(_LAZY[name], name)


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name.startswith("__"))})
