"""The atoms, one file each; every function here that returns a Mask is in ATOMS under its name."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

from attnmask.mask.atoms.layouts.block_layout import bigbird_layout, blocks
from attnmask.mask.atoms.layouts.diffusion_blocks import block_diffusion
from attnmask.mask.atoms.layouts.image_grid import grid
from attnmask.mask.atoms.layouts.placement import placed
from attnmask.mask.atoms.layouts.token_tree import tree
from attnmask.mask.atoms.positions.attention_sinks import sinks
from attnmask.mask.atoms.positions.block_causality import block_causal
from attnmask.mask.atoms.positions.causality import causal
from attnmask.mask.atoms.positions.chunks import chunked
from attnmask.mask.atoms.positions.dilation import dilated
from attnmask.mask.atoms.positions.prefixes import prefix
from attnmask.mask.atoms.positions.windows import window
from attnmask.mask.atoms.tokens.document_pairs import cross_documents
from attnmask.mask.atoms.tokens.global_attention import global_tokens
from attnmask.mask.atoms.tokens.image_precedence import preceding_images
from attnmask.mask.atoms.tokens.key_padding import padding
from attnmask.mask.atoms.tokens.packed_documents import documents
from attnmask.mask.atoms.tokens.prefix_sharing import shared_prefix
from attnmask.mask.atoms.tokens.query_and_key_padding import cross_padding
from attnmask.mask.atoms.tokens.token_spans import spans
from attnmask.mask.atoms.values.constants import empty, full
from attnmask.mask.atoms.values.dense_array import dense
from attnmask.mask.atoms.values.predicates import predicate
from attnmask.mask.expression import Mask
from attnmask.mask.heads import per_head

__all__ = [
    "bigbird_layout",
    "block_causal",
    "block_diffusion",
    "blocks",
    "causal",
    "chunked",
    "cross_documents",
    "cross_padding",
    "dense",
    "dilated",
    "documents",
    "empty",
    "full",
    "global_tokens",
    "grid",
    "padding",
    "per_head",
    "placed",
    "preceding_images",
    "predicate",
    "prefix",
    "shared_prefix",
    "sinks",
    "spans",
    "tree",
    "window",
]

ATOMS: dict[str, Callable[..., Mask]] = {
    name: made
    for name, made in list(globals().items())
    if isinstance(made, FunctionType) and made.__annotations__.get("return") == Mask.__name__
}
