"""Tokenizers trained in a moment: byte-level BPE as RoBERTa's, and one with spaces made visible as XLM-R's."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "the attention mask is a mask of attention",
    "a naïve café, an attention-mask; masks mask",
    "日本語の文 and more",
] * 20
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
NAMES = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")


@cache
def byte_level(*, trim_offsets: bool = True) -> PreTrainedTokenizerFast:
    """Pieces are of bytes, and a word's first piece holds the space before it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=trim_offsets)
    return _wrapped(tokenizer)


@cache
def sentence_piece() -> PreTrainedTokenizerFast:
    """Pieces are of characters, and a space is one of them."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return _wrapped(tokenizer)


def _wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    names = dict(zip(NAMES, SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)
