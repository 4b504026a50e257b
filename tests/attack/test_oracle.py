"""The oracle knows every public mask, and agrees with grids typed by hand; the attack finds planted mistakes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import attnmask as am
from attnmask.formats import FORMATS
from attnmask.mask.atoms import ATOMS
from attnmask.mask.atoms.positions.causality import Causal
from attnmask.mask.atoms.positions.windows import Window
from attnmask.mask.expression import Bounds
from tests.attack import campaign
from tests.attack.campaign import Tally, attack_mask, run
from tests.attack.inputs.readers import READERS
from tests.attack.oracle import FORMULAS, Tree, dense
from tests.attack.random_masks import ARGUMENTS

GRIDS: list[tuple[Tree, int, int, int, str]] = [
    (("causal", {}), 2, 4, 1, "1100 1110"),
    (("window", {"left": 1, "right": 0}), 4, 3, 0, "100 110 011 001"),
    (("padding", {"lengths": [2], "side": "left"}), 2, 3, 0, "011 011"),
    (("padding", {"ids": [[5, 9, 9]], "pad_id": 9, "of": "both"}), 3, 3, 0, "100 000 000"),
    (("documents", {"lengths": [1, 2]}), 4, 4, 0, "1000 0110 0110 0000"),
    (("spans", {"ids": [-1, 0, 0, -1]}), 4, 4, 0, "0000 0110 0110 0000"),
    (("tree", {"parents": [-1, 0, 0, 1]}), 4, 4, 0, "1000 1100 1010 1101"),
    (("grid", {"height": 1, "width": 4, "radius": 1, "border": "clip"}), 4, 4, 0, "1100 1110 0111 0011"),
    (("grid", {"height": 3, "width": 3, "radius": 1, "border": "natten"}), 1, 9, 0, "111111111"),
    (("blocks", {"layout": [[1, 0], [1, 1]], "size": 2}), 5, 5, 0, "11000 11000 11110 11110 00000"),
    (("block_diffusion", {"size": 1, "length": 2}), 4, 4, 0, "1000 0110 0010 0011"),
    (("shared_prefix", {"prompt": 1, "answers": [1, 1]}), 4, 4, 0, "1000 1100 1010 0000"),
    (("cross_padding", {"queries": [1], "keys": [2]}), 2, 3, 0, "110 000"),
    (("global_tokens", {"indices": [1]}), 3, 3, 0, "010 111 010"),
    (("cross_documents", {"query_lengths": [1, 2], "key_lengths": [3, 1]}), 4, 5, 0, "11100 00010 00010 00000"),
    (("preceding_images", {"media_locations": [0, 1, 0, 1], "tokens": 2}), 4, 4, 0, "0000 1100 1100 0011"),
    (("tree", {"parents": [-1, 0, 0], "cache": 2}), 3, 5, 9, "11100 11110 11101"),
    (("block_causal", {"size": 2, "left": 0}), 4, 4, 0, "1100 1100 0011 0011"),
    (("placed", ("padding", {"lengths": [1], "side": "left"}), 1, 2), 4, 4, 0, "0000 0010 0010 0000"),
    (("shift", ("causal", {}), -1), 3, 3, 0, "000 100 110"),
    (("minus", ("full", {}), ("dilated", {"step": 2})), 2, 3, 0, "010 101"),
    (("xor", ("chunked", {"size": 2}), ("block_causal", {"size": 2})), 3, 3, 0, "000 000 110"),
]


@pytest.mark.parametrize(("tree", "q", "k", "offset", "rows"), GRIDS)
def test_the_oracle_says_what_was_typed_by_hand(tree: Tree, q: int, k: int, offset: int, rows: str) -> None:
    said = dense(tree, 1, 1, q, k, offset)[0, 0]
    assert " ".join("".join(str(int(pair)) for pair in row) for row in said) == rows


def test_every_public_mask_has_a_formula_and_is_drawn() -> None:
    of_trees = {"per_head", "placed"}  # nodes, not formulas
    assert set(ATOMS) - of_trees == set(FORMULAS) == set(ARGUMENTS)


def test_every_format_has_a_reader() -> None:
    assert set(READERS) == set(FORMATS)


@pytest.mark.parametrize("seed", range(5))
def test_a_bigbird_layout_is_neighbours_global_blocks_and_as_many_random_ones(seed: int) -> None:
    chance = random.Random(seed)
    blocks, around = chance.randint(1, 9), chance.choice((1, 3, 5))
    first, others = chance.randint(0, 2), chance.randint(0, 4)
    layout = am.bigbird_layout(blocks, around, first, others, seed=seed)
    row, column = np.indices((blocks, blocks))
    sure = (abs(row - column) <= around // 2) | (row < first) | (column < first)
    assert layout[sure].all()
    assert ((layout & ~sure).sum(1) == np.minimum(others, (~sure).sum(1))).all()


def _wrong(masks: int) -> int:
    tally = Tally()
    for number in range(masks):
        attack_mask(number, tally)
    return len(tally.wrong)


def _one_key_more(of: type[Any]) -> Any:
    right = of.bounds

    def bounds(self: Any, domain: Any) -> Bounds:
        found = right(self, domain)
        return Bounds(found.shape, found.starts, found.stops + 1, found.counts)

    return bounds


@pytest.mark.parametrize("atom", [Causal, Window])
def test_a_planted_mistake_in_the_runs_is_found(atom: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atom, "bounds", _one_key_more(atom))
    assert _wrong(400) > 1


def test_a_planted_mistake_in_a_format_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(READERS, "sdpa", lambda form, Q, K, options: np.ones((1, 1, Q, K), dtype=bool))
    monkeypatch.setattr(campaign, "READERS", {"sdpa": READERS["sdpa"]})
    assert run(masks=60, seed=0, processes=1) == 1
    out = capsys.readouterr().out
    assert "python -m tests.attack " in out
    assert " mismatches; seed 0, " in out
