"""The atoms, one file a kind; each function here that returns a Mask is in ATOMS by its name."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

from attnmask.mask.atoms.block_causal import block_causal as block_causal
from attnmask.mask.atoms.block_diffusion import block_diffusion as block_diffusion
from attnmask.mask.atoms.blocks import bigbird_layout as bigbird_layout
from attnmask.mask.atoms.blocks import blocks as blocks
from attnmask.mask.atoms.causal import causal as causal
from attnmask.mask.atoms.chunked import chunked as chunked
from attnmask.mask.atoms.constant import empty as empty
from attnmask.mask.atoms.constant import full as full
from attnmask.mask.atoms.cross_documents import cross_documents as cross_documents
from attnmask.mask.atoms.cross_padding import cross_padding as cross_padding
from attnmask.mask.atoms.dense import dense as dense
from attnmask.mask.atoms.dilated import dilated as dilated
from attnmask.mask.atoms.documents import documents as documents
from attnmask.mask.atoms.global_tokens import global_tokens as global_tokens
from attnmask.mask.atoms.grid import grid as grid
from attnmask.mask.atoms.padding import padding as padding
from attnmask.mask.atoms.per_head import per_head as per_head
from attnmask.mask.atoms.placed import placed as placed
from attnmask.mask.atoms.preceding_images import preceding_images as preceding_images
from attnmask.mask.atoms.predicate import predicate as predicate
from attnmask.mask.atoms.prefix import prefix as prefix
from attnmask.mask.atoms.shared_prefix import shared_prefix as shared_prefix
from attnmask.mask.atoms.sinks import sinks as sinks
from attnmask.mask.atoms.spans import spans as spans
from attnmask.mask.atoms.tree import tree as tree
from attnmask.mask.atoms.window import window as window
from attnmask.mask.expr import Mask

ATOMS: dict[str, Callable[..., Mask]] = {
    name: made
    for name, made in list(globals().items())
    if isinstance(made, FunctionType) and made.__annotations__.get("return") == Mask.__name__
}
