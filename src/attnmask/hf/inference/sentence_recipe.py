"""How a model of sentence-transformers makes a vector of a text: read from its folder, or from the object."""

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
# Before it had one key for them, a folder had a switch for each way to pool.
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
    """What is done with a text before and behind the model.

    Attributes:
        pool: what stands for the text. normalize: whether vectors have length 1.
        max_length: tokens at which a text is cut, None if it does not say. prompt: what is put before each text.
        lower: whether texts are written in lower case first.
    """

    pool: Pool = Pool.MEAN
    normalize: bool = False
    max_length: int | None = None
    prompt: str = ""
    lower: bool = False

    def text(self, text: str) -> str:
        """A text as the model gets it."""
        return self.prompt + (text.lower() if self.lower else text)


def is_sentence_transformer(model: Any) -> bool:
    """Whether a model is an object of sentence-transformers; that package need not be there to tell."""
    return any(kind.__module__.startswith("sentence_transformers.") for kind in type(model).__mro__)


def inner_transformer(model: Any) -> Any:
    """The model of transformers in one of sentence-transformers, its first module."""
    inner = getattr(next(iter(model.children()), None), "auto_model", None)
    if inner is None:
        _refuse(f"{type(model).__name__} does not begin with a model of transformers")
    return inner


def recipe_from_model(model: Any) -> Recipe:
    """The recipe of a model of sentence-transformers."""
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
    """The recipe in the folder that a model was loaded from; None if it is none of sentence-transformers.

    Args:
        folder: that of the model's weights, which may lie in one that has ``modules.json``.

    Raises:
        UnsupportedModelError: modules that are not known here. InputFileError: a file that cannot be read.
    """
    weights = Path(folder)
    root = next((path for path in (weights, weights.parent) if (path / "modules.json").is_file()), None)
    if root is None or not str(folder):
        return None
    modules = cast(list[dict[str, str]], _read(root / "modules.json"))
    if root != weights and modules[0]["path"] != weights.name:  # another model's folder beside it
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
    """The recipe of modules, by kind and config, the model itself first."""
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
    """The content of a JSON file, {} where there is none."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputFileError(f"cannot be read: {error}", where=str(path), fix="save the model again") from None


def _refuse(reason: str) -> NoReturn:
    raise UnsupportedModelError(reason, where=WHERE, fix=FIX)
