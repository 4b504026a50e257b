"""Read how a sentence-transformers model pools and normalises, from its folder or from the object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from attnmask.errors import InputFileError, UnsupportedModelError
from attnmask.hf.inference.pooling import Pool

WHERE = "encode(pool=None)"
FIX = 'give pool="mean", "cls" or "last" for its last hidden states, or encode with sentence-transformers'
POOLS = {"mean": Pool.MEAN, "cls": Pool.CLS, "lasttoken": Pool.LAST}
# Older folders have one switch per pooling mode instead of the key "pooling_mode".
SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
LIMITS = "sentence_*_config.json"


@dataclass(frozen=True)
class Recipe:
    """The steps before and after the model.

    Attributes:
        pool: how a text is pooled. normalize: whether vectors are scaled to length 1.
        max_length: number of tokens at which a text is cut; None if not specified. prompt: prefix of each text.
        lower: whether texts are converted to lower case.
    """

    pool: Pool = Pool.MEAN
    normalize: bool = False
    max_length: int | None = None
    prompt: str = ""
    lower: bool = False

    def text(self, text: str) -> str:
        """Prepare a text for the tokenizer."""
        return self.prompt + (text.lower() if self.lower else text)


def is_sentence_transformer(model: Any) -> bool:
    """Return whether a model is a sentence-transformers object, without importing that package."""
    return any(kind.__module__.startswith("sentence_transformers.") for kind in type(model).__mro__)


def inner_transformer(model: Any) -> Any:
    """Return the transformers model inside a SentenceTransformer, which is in its first module."""
    inner = getattr(next(iter(model.children()), None), "auto_model", None)
    if inner is None:
        _refuse(f"{type(model).__name__} does not begin with a model of transformers")
    return inner


def recipe_from_model(model: Any) -> Recipe:
    """Read the recipe of a SentenceTransformer."""
    modules: list[Any] = list(model.children())
    kinds = [type(module).__name__ for module in modules]
    configs: list[dict[str, Any]] = [
        module.get_config_dict() if hasattr(module, "get_config_dict") else {} for module in modules
    ]
    prompts: Mapping[str, str] = getattr(model, "prompts", None) or {}
    prompt = prompts.get(getattr(model, "default_prompt_name", None) or "", "")
    max_length, lower = getattr(modules[0], "max_seq_length", None), getattr(modules[0], "do_lower_case", False)
    return _recipe(list(zip(kinds, configs, strict=True)), prompt, max_length, bool(lower))


def recipe_from_folder(folder: str | Path) -> Recipe | None:
    """Read the recipe of the folder that a model was loaded from; None if it is not a sentence-transformers folder.

    Args:
        folder: the folder of the model's weights; ``modules.json`` is in it, or in its parent folder.

    Raises:
        UnsupportedModelError: unsupported modules. InputFileError: a file that cannot be read.
    """
    weights = Path(folder)
    root = next((path for path in (weights, weights.parent) if (path / "modules.json").is_file()), None)
    if root is None or not str(folder):
        return None
    modules = cast(list[dict[str, str]], _read(root / "modules.json"))
    # A modules.json in the parent folder may belong to another model that happens to lie beside this one.
    if root != weights and modules[0]["path"] != weights.name:
        return None
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    configs = [_read(root / module["path"] / "config.json") for module in modules]
    whole: dict[str, Any] = _read(root / "config_sentence_transformers.json")
    prompts: dict[str, str] = whole.get("prompts") or {}
    prompt = prompts.get(whole.get("default_prompt_name") or "", "")
    limits: dict[str, Any] = _read(next(iter(sorted(weights.glob(LIMITS))), weights / LIMITS))
    steps = list(zip(kinds, configs, strict=True))
    return _recipe(steps, prompt, limits.get("max_seq_length"), bool(limits.get("do_lower_case")))


def _recipe(steps: list[tuple[str, dict[str, Any]]], prompt: str, max_length: int | None, lower: bool) -> Recipe:
    """Build the recipe from the modules, each a (class name, config), the transformers model first."""
    kinds = [kind for kind, _ in steps]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        _refuse(f"the modules of this sentence-transformer are {', '.join(kinds)}")
    pooling = steps[1][1]
    names = _pooling_names(pooling)
    if len(names) != 1 or names[0] not in POOLS:
        _refuse(f"this sentence-transformer pools by {' and '.join(names) or 'nothing'}")
    if prompt and not pooling.get("include_prompt", True):
        _refuse("this sentence-transformer leaves its prompt out of the pooling")
    return Recipe(POOLS[names[0]], "Normalize" in kinds, max_length, prompt, lower)


def _pooling_names(config: Mapping[str, Any]) -> list[str]:
    named = config.get("pooling_mode")
    if isinstance(named, str):
        return [named]
    return list(cast(Iterable[str], named or [name for key, name in SWITCHES.items() if config.get(key)]))


def _read(path: Path) -> Any:
    """Read a JSON file; {} if it does not exist."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputFileError(f"cannot be read: {error}", where=str(path), fix="save the model again") from None


def _refuse(reason: str) -> NoReturn:
    raise UnsupportedModelError(reason, where=WHERE, fix=FIX)
