"""Register ``attn_implementation="attnmask"`` with transformers, and undo it."""

from __future__ import annotations

from threading import Lock
from typing import Any, NoReturn, cast

import torch
import transformers
from transformers import AttentionInterface, AttentionMaskInterface

from attnmask.calls import public, warn_caller
from attnmask.errors import UnsupportedModelError
from attnmask.hf.implementation.given_mask import patch_mask_checks
from attnmask.hf.implementation.interface import attention_forward, model_mask
from attnmask.hf.implementation.model_mask import NAME, WHERE
from attnmask.hf.implementation.mpnet import patch_mpnet
from attnmask.hf.implementation.own_attention import patch_own_attention
from attnmask.hf.implementation.transformers_patches import replace_entry, undo_replacements
from attnmask.hf.warnings_issued import UntestedVersionWarning

TESTED = ("5.23",)  # minor versions of transformers, the same as in pyproject.toml
_registering = Lock()


@public
def register() -> None:
    """Register ``attn_implementation="attnmask"`` with transformers.

    Every model that uses transformers' AttentionInterface then runs its attention by ``attnmask.attention``, under the
    exact set of pairs that the model's masks describe; MPNet bypasses the interface and is patched. A user's own 4-D
    ``attention_mask`` is read too: bools (True attends), or floats (0 attends). Masks that transformers would misread
    silently are refused: numbers other than 0 and 1 in a 2-D mask, or a mask of another length. A row that attends to
    nothing, such as that of a left pad, gives 0 where eager attention gives the mean of V. A model that does not use
    the interface, such as BLOOM or DeBERTa, runs as under "eager", with an OwnAttentionWarning. Calling ``register``
    again changes nothing; ``unregister()`` undoes it. An untested version of transformers gives an
    UntestedVersionWarning.

    Source: https://huggingface.co/docs/transformers/attention_interface

    >>> import transformers
    >>> register()
    >>> config = transformers.BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    >>> transformers.BertModel._from_config(config, attn_implementation="attnmask").config._attn_implementation
    'attnmask'
    """
    with _registering:
        attentions = cast(dict[str, Any], AttentionInterface._global_mapping)  # pyright: ignore[reportPrivateUsage]
        if NAME in attentions:
            return
        if not transformers.__version__.startswith(tuple(f"{minor}." for minor in TESTED)):
            warn_caller(UntestedVersionWarning(transformers.__version__, TESTED))
        # torch.compile cannot trace either function, since both read values of the mask: it compiles the code around.
        replace_entry(attentions, NAME, torch.compiler.disable(attention_forward))
        AttentionMaskInterface.register(NAME, torch.compiler.disable(model_mask))
        patch_mask_checks()
        patch_own_attention()
        patch_mpnet()


@public
def unregister() -> None:
    """Undo ``register``: restore what it replaced in transformers, and let no new model use "attnmask".

    A model that still has ``attn_implementation="attnmask"`` raises an error when it next builds a mask, until it is
    set to another implementation. Without a preceding ``register``, nothing changes.

    Source: attnmask.

    >>> import transformers
    >>> register()
    >>> unregister()
    >>> "attnmask" in transformers.AttentionInterface().valid_keys()
    False
    >>> register()
    """
    with _registering:
        undo_replacements()
        if NAME in AttentionMaskInterface._global_mapping:  # pyright: ignore[reportPrivateUsage]
            # If the entry were removed, models that bypass the AttentionInterface would run without a mask.
            AttentionMaskInterface.register(NAME, _refuse_mask)


def _refuse_mask(*_: Any, **__: Any) -> NoReturn:
    raise UnsupportedModelError(
        'a model runs under attn_implementation="attnmask", which is no longer registered',
        where=WHERE,
        fix='call attnmask.hf.register(), or model.set_attn_implementation("sdpa")',
    )
