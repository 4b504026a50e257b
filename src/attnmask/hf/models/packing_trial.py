"""Check on a small copy of a model, with new weights, that packed texts give the same states as each text alone."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from attnmask.compiler.plan import compile
from attnmask.hf.models.families import Family, position_ids
from attnmask.hf.models.switched_models import under_attnmask
from attnmask.hf.models.tiny_models import WINDOW, tiny_copy
from attnmask.hf.packing.packed_calls import packed
from attnmask.mask.atoms import documents

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Longer and shorter than the windows of the small copy; and the texts do not start at the edges of its chunks.
LENGTHS = np.array([WINDOW + 5, 4, 2 * WINDOW])
# Relative to the largest state. With the large weights of a tiny model, a wrong pair or position changes states by more
# than 1e-2.
TOLERANCE = 1e-4
_results: WeakKeyDictionary[PreTrainedModel, Family | str] = WeakKeyDictionary()


def family_from_trial(base: PreTrainedModel) -> Family | str:
    """Return the family of a model (the inputs that it needs for packed texts), or the reason why no family is exact.

    Args:
        base: a transformers model without its head.
    """
    if base not in _results:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user's own model gives its warnings when it runs
            _results[base] = _try_families(base)
    return _results[base]


def _try_families(base: PreTrainedModel) -> Family | str:
    try:
        model = tiny_copy(type(base), base.config)
        ids = torch.randint(_vocabulary(model), (int(LENGTHS.sum()),))
        texts = torch.tensor_split(ids, np.cumsum(LENGTHS)[:-1].tolist())
        separate = torch.cat([_states(model, text) for text in texts])
        causal = _is_causal(model, ids[: LENGTHS[0]])
        found = {family: _difference(model, family, ids, separate) for family in _candidates(model, causal)}
    except Exception as error:  # a model's code may raise anything
        return f"cannot be tried on packed texts: {type(error).__name__}: {str(error)[:160]}"
    exact = [family for family, difference in found.items() if difference <= TOLERANCE]
    least = min(found.values())
    return exact[0] if exact else f"gives packed texts other states than each alone, by {least:.0e} of the largest"


def _vocabulary(model: PreTrainedModel) -> int:
    return cast(nn.Embedding, model.get_input_embeddings()).num_embeddings


def _candidates(model: PreTrainedModel, causal: bool) -> Iterator[Family]:
    """Yield the families that fit a model's signature, those with the fewest inputs first."""
    names = inspect.signature(model.forward).parameters
    has_pad = isinstance(getattr(getattr(model, "embeddings", None), "padding_idx", None), int)
    choices = {
        "positions": [True] if "position_ids" in names else [False],
        "after_pad": [False, True] if has_pad and "position_ids" in names else [False],
        "token_types": [False, True] if "token_type_ids" in names else [False],
    }
    for chosen in product(*choices.values()):
        yield Family(type(model).__name__, causal=causal, **dict(zip(choices, chosen, strict=True)))


def _is_causal(model: PreTrainedModel, ids: Tensor) -> bool:
    """Return whether no token's state depends on a later token."""
    other = ids.clone()
    other[-1] = (ids[-1] + 1) % _vocabulary(model)
    return torch.equal(_states(model, ids)[:-1], _states(model, other)[:-1])


def _difference(model: PreTrainedModel, family: Family, ids: Tensor, separate: Tensor) -> float:
    """Return the largest difference of states for packed texts and for each alone, relative to the largest state."""
    inputs: dict[str, Tensor] = {}
    if family.positions:
        inputs["position_ids"] = torch.from_numpy(position_ids(model, family, ids.numpy(), LENGTHS))[None]
    if family.token_types:
        inputs["token_type_ids"] = torch.zeros_like(ids)[None]
    with under_attnmask(model), packed(compile(documents(lengths=LENGTHS), q=len(ids))):
        packed_states = _states(model, ids, **inputs)
    return float((packed_states - separate).abs().max() / separate.abs().max())


def _states(model: PreTrainedModel, ids: Tensor, **inputs: Tensor) -> Tensor:
    cache: dict[str, Any] = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    return model(input_ids=ids[None], **inputs, **cache).last_hidden_state[0]
