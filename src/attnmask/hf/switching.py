"""A model under ``attn_implementation="attnmask"`` for a while, in several threads at once."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from attnmask.hf.model_mask import NAME

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass
class _Use:
    """What puts a model back under what it was found under, and how many use it under ours."""

    put_back: ExitStack
    users: int = 0


# By config: a model and its part without the head share theirs, and it is what says which attention runs.
_uses: dict[int, _Use] = {}
_lock = Lock()


@contextmanager
def under_attnmask(model: PreTrainedModel) -> Generator[None]:
    """Switch a model; the last to leave puts back what the first found."""
    from attnmask.hf.interface import register

    register()
    key = id(model.config)
    with _lock:
        if key not in _uses:
            _uses[key] = _Use(_switched(model))
        _uses[key].users += 1
    try:
        yield
    finally:
        with _lock:
            use = _uses[key]
            use.users -= 1
            if not use.users:
                del _uses[key]
                use.put_back.close()


def _switched(model: PreTrainedModel) -> ExitStack:
    """What undoes it; undone at once where it fails halfway."""
    with ExitStack() as undo:
        found = str(model.config._attn_implementation)  # pyright: ignore[reportPrivateUsage]
        undo.callback(lambda: model.set_attn_implementation(found))
        model.set_attn_implementation(NAME)
        return undo.pop_all()
