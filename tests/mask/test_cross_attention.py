"""Packed cross-attention, images in text and trees behind a cache, as the libraries that use them compute them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnmask as am

SOME = settings(max_examples=100, deadline=None)
PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=5)


def pairs_of(mask: am.Mask, q: int, k: int) -> np.ndarray:
    return am.compile(mask, q=q, k=k, align="start").runs.to_dense()


@SOME
@given(PAIRS)
def test_documents_of_both_sides_are_blocks_on_a_staircase(lengths: list[tuple[int, int]]) -> None:
    queries, keys = (np.array(side) for side in zip(*lengths, strict=True))
    expected = np.zeros((queries.sum() + 1, keys.sum() + 2), dtype=bool)
    for (q, k), q_end, k_end in zip(lengths, queries.cumsum(), keys.cumsum(), strict=True):
        expected[q_end - q : q_end, k_end - k : k_end] = True
    by_lengths = am.cross_documents(query_lengths=queries, key_lengths=keys)
    np.testing.assert_array_equal(pairs_of(by_lengths, *expected.shape)[0, 0], expected)
    borders = [np.cumsum([0, *side]) for side in (queries, keys)]
    assert am.cross_documents(cu_seqlens_q=borders[0], cu_seqlens_k=borders[1]) == by_lengths
    ids = [np.repeat(np.arange(len(side)), side) for side in (queries, keys)]
    assert am.cross_documents(query_ids=ids[0], key_ids=ids[1]) == by_lengths


@SOME
@given(st.lists(PAIRS, min_size=1, max_size=3), st.integers(0, 2), st.booleans())
def test_varlen_kernels_get_other_bounds_of_keys(items: list, offset: int, torch_names: bool) -> None:
    pytest.importorskip("torch")
    queries, keys = ([[pair[side] for pair in item] for item in items] for side in (0, 1))
    q, k = (max(map(sum, side)) + 1 for side in (queries, keys))
    mask = am.cross_documents(query_lengths=queries, key_lengths=keys)
    plan = am.compile(mask, q=q, k=k, batch=len(items), offset=offset)
    assert plan == am.compile(mask, q=q, k=k, batch=len(items), offset=0)
    lowered = plan.to("flash_varlen", library="torch" if torch_names else "flash_attn", batch=len(items))
    bounds = [one.tolist() for name, one in lowered.arguments.items() if name.startswith("cu_")]
    seen = [pair for item in items for pair in item if min(pair)]
    # Documents without queries or keys have no pairs; neighbours may be one sequence where nothing parts them.
    assert [bound[-1] for bound in bounds] == [sum(pair[side] for pair in seen) for side in (0, 1)]
    assert am.lift("flash_varlen", lowered, q=q, k=k, batch=len(items)) == plan


def test_bounds_are_those_of_the_documents() -> None:
    pytest.importorskip("torch")
    plan = am.compile(am.cross_documents(query_lengths=[2, 1, 3], key_lengths=[1, 4, 2]), q=6, k=7, align="start")
    arguments = plan.to("flash_varlen").arguments
    assert arguments["cu_seqlens_q"].tolist() == [0, 2, 3, 6]
    assert arguments["cu_seqlens_k"].tolist() == [0, 1, 5, 7]
    assert am.lift("flash_varlen", arguments) == plan
    assert am.Plan(plan.runs).describe().mask == plan.mask


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "got none"),
        ({"query_lengths": [1]}, "key_lengths is missing"),
        ({"query_lengths": [1], "key_ids": [0]}, "got query_lengths and key_lengths; query_ids and key_ids"),
        ({"query_lengths": [1, 2], "key_lengths": [1]}, "item 0 has 2 documents of queries and 1 of keys"),
        ({"query_lengths": [[1], [1, 2]], "key_lengths": [[1], [3]]}, "item 1 has 2 documents of queries"),
        ({"query_lengths": [[1], [1]], "key_lengths": [[1]] * 3}, "the queries have 2 batch items, the keys 3"),
        ({"cu_seqlens_q": [0, 2], "cu_seqlens_k": [1, 2]}, "cu_seqlens_k is"),
    ],
)
def test_documents_that_do_not_fit_each_other_are_refused(given: dict, message: str) -> None:
    with pytest.raises(am.AttnMaskError, match=message):
        am.cross_documents(**given)


def open_flamingo(locations: np.ndarray, images: int, latents: int, immediate: bool) -> np.ndarray:
    """The formula of OpenFlamingo's MaskedCrossAttention: text_time == or >= media_time, nothing where it is 0."""
    text_time = locations.cumsum(axis=-1)[..., None]
    media_time = np.repeat(np.arange(images) + 1, latents)
    return (text_time == media_time) if immediate else (text_time >= media_time)


@SOME
@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 3), st.integers(0, 4), st.booleans())
def test_text_sees_images_as_in_flamingo(bits: list[bool], latents: int, images: int, immediate: bool) -> None:
    locations = np.array(bits)
    mask = am.preceding_images(locations, tokens=latents, which="last" if immediate else "all")
    dense = pairs_of(mask, len(bits), images * latents)[0, 0]
    np.testing.assert_array_equal(dense, open_flamingo(locations, images, latents, immediate))
    # Tokens that are generated later go on seeing the last image of the prompt.
    later = am.compile(mask.shift(len(bits) + 3), q=1, k=images * latents, align="start").runs.to_dense()
    np.testing.assert_array_equal(later[0, 0, 0], dense[-1])


@SOME
@given(st.lists(st.integers(1, 4), min_size=1, max_size=7), st.lists(st.integers(0, 5), min_size=1, max_size=3))
def test_drafts_see_the_cache_and_their_path(back: list[int], caches: list[int]) -> None:
    parents = np.maximum(np.arange(len(back)) - np.array(back), -1)
    paths = am.compile(am.tree(parents), q=len(back)).runs.to_dense()[0, 0]
    keys = max(caches) + len(back) + 1
    plan = am.compile(am.tree(parents, cache=caches), q=len(back), k=keys, batch=len(caches), align="end")
    for b, cache in enumerate(caches):
        expected = np.zeros((len(back), keys), dtype=bool)
        expected[:, :cache] = True
        expected[:, cache : cache + len(back)] = paths
        np.testing.assert_array_equal(plan.runs.to_dense()[min(b, plan.B - 1), 0], expected)


def test_left_chunks_are_those_of_speech_models() -> None:
    for size, left, length in ((1, 0, 3), (2, 1, 7), (3, 2, 11), (4, 0, 9)):
        chunk = np.arange(length) // size
        # SeamlessM4T v2: from the first of the left chunks to the end of the own one.
        starts, ends = np.maximum(chunk - left, 0) * size, np.minimum((chunk + 1) * size, length)
        k = np.arange(length)
        expected = (k >= starts[:, None]) & (k < ends[:, None])
        np.testing.assert_array_equal(pairs_of(am.block_causal(size, left=left), length, length)[0, 0], expected)


@SOME
@given(st.integers(1, 5), st.lists(st.integers(0, 6), min_size=1, max_size=3), st.integers(-2, 3))
def test_a_placed_mask_is_the_square_of_the_mask_alone(length: int, starts: list[int], offset: int) -> None:
    masks = (
        am.causal(),
        am.padding(lengths=min(2, length), side="left", of="both"),
        am.dense(np.eye(length)[::-1] > 0),
        ~am.tree([-1, 0]),
    )
    for mask in masks:
        alone = am.compile(mask, q=length).runs.to_dense()[0, 0]
        plan = am.compile(am.placed(mask, starts, length), q=6, k=9, batch=len(starts), offset=offset)
        for b, start in enumerate(starts):
            whole = np.zeros((30, 30), dtype=bool)
            whole[10 + start : 10 + start + length, 10 + start : 10 + start + length] = alone
            expected = whole[10 + offset : 16 + offset, 10:19]
            np.testing.assert_array_equal(plan.runs.to_dense()[min(b, plan.B - 1), 0], expected)


def test_data_of_another_length_than_the_part_are_refused() -> None:
    with pytest.raises(am.AttnMaskError, match="the data of the mask have Q=2, the part has Q=3"):
        am.placed(am.dense([[1, 0], [1, 1]]), at=1, length=3)
    with pytest.raises(am.AttnMaskError, match="the data of the mask have B=2, the part has B=3"):
        am.placed(am.prefix([1, 2]), at=[0, 1, 2], length=3)


def test_nothing_is_written_out_for_lengths_that_the_plan_does_not_have() -> None:
    most = 2**31 - 1
    for mask, pairs in (
        (am.documents(lengths=[most]), 16),
        (am.cross_documents(query_lengths=[2, most - 2], key_lengths=[3, most - 3]), 2 * 3 + 2),
        (am.placed(am.causal(), at=1, length=most), 6),
        (am.block_causal(most, left=most), 16),
        (am.preceding_images([0, 1], tokens=most), 12),
    ):
        assert am.compile(mask, q=4).pairs == pairs
        assert repr(am.Mask.from_json(mask.to_json())) == repr(mask)
