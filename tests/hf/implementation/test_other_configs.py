"""Types that agree with eager attention do so under other configs; how these are drawn, and what is kept of them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import studies.other_configs
from attnmask.hf.models.tiny_models import tiny_config
from studies.architecture_configs import changes_that_run, drawn_changes, nested
from studies.other_configs import DIFFERS, EQUAL, FAILS, Found, found_of, page_with, sweep
from tests.hf.implementation.test_architectures import NAMES, PAGE

SAMPLE = random.Random(0).sample([(name, seed) for name in NAMES for seed in (1, 2, 3)], 8)
# Configs that change the mask in a way of their own: top-k of keys and of blocks, windows, chunks, kinds of layers.
WAYS = [("deepseek_v32", 1), ("minimax_m3_vl_text", 3), ("mistral", 2), ("llama4_text", 1), ("gemma3_text", 2),
        ("modernbert", 3), ("gpt_oss", 1)]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "seed"), [*WAYS, *SAMPLE])
def test_other_configs_are_equal_or_refused(name: str, seed: int) -> None:
    found = found_of(name, seed)
    assert found.outcome not in (DIFFERS, FAILS), found
    if (name, seed) in WAYS:
        assert found.outcome == EQUAL


@pytest.mark.parametrize("name", ["mistral", "deepseek_v32", "gemma3", "llama4_text", "qwen2_vl"])
def test_each_attribute_is_changed_in_two_of_three_configs_and_always_alike(name: str) -> None:
    config = tiny_config(name)
    draws = [drawn_changes(config, seed) for seed in (1, 2, 3)]
    assert draws == [drawn_changes(config, seed) for seed in (1, 2, 3)]
    paths = [path for draw in draws for path in draw]
    assert all(paths.count(path) <= 2 for path in paths)
    everything = config.to_dict()
    for draw in draws:
        for path, value in draw.items():
            place = everything
            for part in path:
                place = place[part]
            assert place != value
    changed = {path[-1] for path in paths}
    wanted = {"mistral": "sliding_window", "deepseek_v32": "index_topk", "gemma3": "sliding_window"}
    assert wanted.get(name, "num_attention_heads") in changed


def test_a_change_reaches_the_config_that_it_is_of() -> None:
    changes = {("text_config", "sliding_window"): 3, ("mm_tokens_per_image",): 5}
    config = tiny_config("gemma3", nested(changes))
    assert (config.text_config.sliding_window, config.mm_tokens_per_image) == (3, 5)


@pytest.mark.parametrize("bad", [set(), {3}, {0, 7}, {1, 2, 3, 4}, set(range(8))])
def test_changes_that_do_not_run_are_left_out_alone(bad: set[int]) -> None:
    changes = {(str(number),): number for number in range(8)}
    left = changes_that_run(changes, lambda some: not bad & set(some.values()))
    assert set(left.values()) == set(range(8)) - bad


def killing(name: str, seed: int) -> Found:
    """A comparison that kills its process for one model type."""
    if name == "deadly":
        os._exit(1)
    return Found(name, seed, EQUAL)


def test_a_sweep_survives_processes_that_die_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies.other_configs, "found_of", killing)
    journal = tmp_path / "journal.jsonl"
    sweep(["one", "deadly"], 1, journal)
    found = sweep(["one", "deadly", "two"], 2, journal)
    assert len(journal.read_text().splitlines()) == len(found) == 6
    outcomes = {(one.name, one.seed): one.outcome for one in found}
    assert all(outcomes[name, seed] == (FAILS if name == "deadly" else EQUAL) for name, seed in outcomes)


def test_the_page_has_a_column_that_can_be_written_again() -> None:
    found = [Found("bert", seed, EQUAL) for seed in (1, 2)] + [Found("bert", 3, DIFFERS, 0.5, "", {"a.b": 2})]
    once = page_with(PAGE, found)
    assert page_with(once, found) == once
    line = next(line for line in once.splitlines() if line.startswith("| bert |"))
    assert line.endswith("| 2 equal, 1 differs |")
    assert "| bert | a.b=2 | differs: 5.0e-01 |" in once
    assert "3 configs, up to 3 of a type" in once
