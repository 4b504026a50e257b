"""The atoms, one file a kind; ATOMS is the only list of their names."""

from __future__ import annotations

from collections.abc import Callable

from attnmask.mask.atoms.causal import causal as causal
from attnmask.mask.atoms.constant import empty as empty
from attnmask.mask.atoms.constant import full as full
from attnmask.mask.atoms.dense import dense as dense
from attnmask.mask.atoms.documents import documents as documents
from attnmask.mask.atoms.padding import padding as padding
from attnmask.mask.atoms.prefix import prefix as prefix
from attnmask.mask.atoms.window import window as window
from attnmask.mask.expr import Mask

ATOMS: dict[str, Callable[..., Mask]] = {
    atom.__name__: atom for atom in (full, empty, causal, window, prefix, padding, documents, dense)
}
