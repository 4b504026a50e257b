"""Other configs of an architecture: its windows, top-ks, layer types, heads and switches take other values.

Which attributes of a config are sizes of a mask is told by their names, so that architectures to come are covered too.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedConfig
from transformers.configuration_utils import ALLOWED_ATTN_LAYER_TYPES

# Sizes of a mask, drawn below the length of the longer texts of the comparison.
SIZE = re.compile(
    r"window|chunk|top_?k|span|stride|block|local|bucket|sink|dilat|max_distance|pattern|every_n|interval|"
    r"neighbo|num_global|context_(left|right)|_context|compress|ratio"
)
SIZES = (1, 2, 3, 4, 5, 7, 9, 12)
# Numbers of experts and of layers, positions of tokens and sizes of pictures, which bear similar words.
OTHER_SIZE = re.compile(
    r"expert|moe|group|conv|mamba|patch|token_id|ffn|mlp|norm|head_dim|vocab|codebook|image|feed_forward"
)
# Switches that change what is returned and kept, or which classes are made, not what attends to what.
NO_SWITCH = re.compile(
    r"^(return_dict|output_.*|torchscript|gradient_checkpointing|use_cache|is_encoder_decoder|tie_.*)$"
)
QUERY_HEADS = re.compile(r"^(num_attention_heads|n_heads?|num_heads|(en|de)coder_attention_heads)$")
KEY_HEADS = re.compile(r"^num_(key_value|kv)_heads$")
SOFTCAPS = (2.0, 5.0)

Changes = dict[tuple[str, ...], Any]


def drawn_changes(config: PreTrainedConfig, seed: int) -> Changes:
    """Other values for two thirds of the attributes of a config that can take another one.

    Args:
        config: as ``tiny_config`` returns it. seed: of the draw.

    Returns:
        From the path of an attribute, through inner configs, to its new value.
    """
    draw = random.Random(f"{config.model_type} {seed}")
    kinds = _layer_kinds(type(config))
    others = [(path, value, _options(path[-1], value, kinds, draw)) for path, value in _attributes(config)]
    others = [(path, [option for option in options if option != value]) for path, value, options in others if options]
    chosen = {path: draw.choice(options) if options else None for path, options in others}
    # Of three seeds in a row two change each attribute; where there is but one, all do.
    some = {path: value for i, (path, value) in enumerate(chosen.items()) if (i + seed) % 3 and value is not None}
    chosen = {path: value for path, value in chosen.items() if value is not None}
    return some or chosen


def _layer_kinds(kind: type[PreTrainedConfig]) -> list[str]:
    """The kinds of attention layers that the files of an architecture name."""
    folder = Path(inspect.getfile(kind)).parent
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    return [name for name in ALLOWED_ATTN_LAYER_TYPES if f'"{name}"' in text]


def _attributes(config: PreTrainedConfig, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    inner: Mapping[str, Any] = config.sub_configs
    for name, value in sorted(config.to_dict().items()):
        if name in inner:
            if isinstance(getattr(config, name), PreTrainedConfig):
                yield from _attributes(getattr(config, name), (*path, name))
        elif not name.startswith("_"):
            yield (*path, name), value


def _options(name: str, value: Any, kinds: list[str], draw: random.Random) -> Sequence[Any]:
    """Values that an attribute may take instead."""
    if isinstance(value, bool):
        return () if NO_SWITCH.match(name) else (not value,)
    if isinstance(value, int) and (QUERY_HEADS.match(name) or KEY_HEADS.match(name)):
        return (2, 4, 8) if QUERY_HEADS.match(name) else (1, 2, 4)
    if "softcap" in name:
        return SOFTCAPS
    if isinstance(value, int) or (value is None and "window" in name):
        return SIZES if SIZE.search(name) and not OTHER_SIZE.search(name) else ()
    if isinstance(value, list) and len(cast(list[Any], value)) > 1:
        return _other_lists(cast(list[Any], value), kinds if name == "layer_types" else [], draw)
    return ()


def _other_lists(values: list[Any], kinds: list[str], draw: random.Random) -> Sequence[list[Any]]:
    """Other kinds of the layers, or other 0s and 1s."""
    if all(isinstance(value, str) for value in values):
        known = list(dict.fromkeys((*values, *kinds)))
        return [[draw.choice(known) for _ in values], [draw.choice(kinds or known)] * len(values), values[::-1]]
    if all(value in (0, 1) for value in values):
        return [[draw.choice((0, 1)) for _ in values]]
    return ()


def nested(changes: Changes) -> dict[str, Any]:
    """The same as mappings in mappings, as ``tiny_config`` takes them."""
    found: dict[str, Any] = {}
    for (*outer, name), value in changes.items():
        place = found
        for part in outer:
            place = place.setdefault(part, {})
        place[name] = value
    return found


def changes_that_run(changes: Changes, runs: Callable[[Changes], bool]) -> Changes:
    """The changes without those under which a model does not run, found by halving.

    Args:
        changes: as drawn. runs: whether the model runs under some of them.
    """
    if not changes or runs(changes):
        return changes
    items = list(changes.items())
    if len(items) == 1:
        return {}
    halves = (dict(items[: len(items) // 2]), dict(items[len(items) // 2 :]))
    first, second = (changes_that_run(half, runs) for half in halves)
    both = first | second
    return both if not (first and second) or runs(both) else max(first, second, key=len)


def smallest_size(changes: Changes) -> int:
    """The smallest window, chunk or top-k among the changes; 4 if there is none."""
    sizes = [value for path, value in changes.items() if type(value) is int and SIZE.search(path[-1])]
    return min(sizes, default=4)
