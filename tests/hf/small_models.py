"""Tiny models of every family, with weights so large that a wrong mask shows, and padded batches for them."""

from __future__ import annotations

from typing import Any

import torch
import transformers as tf
from torch import Tensor, nn
from transformers import PreTrainedModel

VOCABULARY = 30522  # that of MiniLM's tokenizer, so that it can be used with all of them
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3}
WINDOW = 8
LENGTHS = (20, 7, 1, 13)

CONFIGS: dict[str, Any] = {
    "bert": lambda: tf.BertConfig(**SMALL, intermediate_size=64, max_position_embeddings=64),
    "roberta": lambda: tf.RobertaConfig(**SMALL, intermediate_size=64, max_position_embeddings=66),
    "xlm-roberta": lambda: tf.XLMRobertaConfig(**SMALL, intermediate_size=64, max_position_embeddings=66),
    "camembert": lambda: tf.CamembertConfig(**SMALL, intermediate_size=64, max_position_embeddings=66),
    "distilbert": lambda: tf.DistilBertConfig(
        vocab_size=VOCABULARY, dim=32, n_heads=4, n_layers=3, hidden_dim=64, max_position_embeddings=64
    ),
    "mpnet": lambda: tf.MPNetConfig(**SMALL, intermediate_size=64, max_position_embeddings=66),
    "modernbert": lambda: tf.ModernBertConfig(
        **SMALL,
        intermediate_size=64,
        max_position_embeddings=64,
        local_attention=2 * WINDOW,
        global_attn_every_n_layers=2,
        pad_token_id=0,
    ),
    "llama": lambda: tf.LlamaConfig(**SMALL, intermediate_size=64, num_key_value_heads=2),
    "gpt2": lambda: tf.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_head=4, n_layer=3, n_positions=64),
    "mistral": lambda: tf.MistralConfig(**SMALL, intermediate_size=64, num_key_value_heads=2, sliding_window=WINDOW),
}
# Decoders that are encoded and scored without padding, besides those above: heads of their own width, and few of keys.
NARROW = {**SMALL, "intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8}
SCORED: dict[str, Any] = {
    "gpt_neox": lambda: tf.GPTNeoXConfig(**SMALL, intermediate_size=64),
    "qwen2": lambda: tf.Qwen2Config(**NARROW),
    "qwen3": lambda: tf.Qwen3Config(**NARROW),
    "gemma": lambda: tf.GemmaConfig(**NARROW),
    "gemma2": lambda: tf.Gemma2Config(**NARROW, sliding_window=WINDOW, attn_logit_softcapping=5.0),
    "gemma3_text": lambda: tf.Gemma3TextConfig(**NARROW, sliding_window=WINDOW),
    "phi": lambda: tf.PhiConfig(**SMALL, intermediate_size=64),
    "olmo2": lambda: tf.Olmo2Config(**NARROW),
    "granite": lambda: tf.GraniteConfig(**NARROW),
    "starcoder2": lambda: tf.Starcoder2Config(**NARROW, sliding_window=WINDOW),
    "smollm3": lambda: tf.SmolLM3Config(**NARROW, pad_token_id=0),
}
# Nobody has written down how these count positions: they are tried.
TRIED: dict[str, Any] = {
    "albert": lambda: tf.AlbertConfig(**SMALL, intermediate_size=64, max_position_embeddings=64),
    "electra": lambda: tf.ElectraConfig(**SMALL, intermediate_size=64, max_position_embeddings=64),
    "data2vec-text": lambda: tf.Data2VecTextConfig(**SMALL, intermediate_size=64, max_position_embeddings=66),
    "t5": lambda: tf.T5Config(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4),
    "opt": lambda: tf.OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=16, max_position_embeddings=64),
    "llama4_text": lambda: tf.Llama4TextConfig(**NARROW, attention_chunk_size=WINDOW, num_local_experts=2),
}
ENCODERS = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "mpnet", "modernbert")
DECODERS = ("llama", "gpt2", "mistral")


def tiny(name: str, seed: int = 0, kind: Any = tf.AutoModel) -> PreTrainedModel:
    """A model with random weights of standard deviation 0.3, in evaluation mode, under eager attention.

    With the usual 0.02 all scores are nearly 0, every key weighs the same, and masks that differ a little pass.
    """
    torch.manual_seed(seed)
    config = {**CONFIGS, **SCORED, **TRIED}[name]()
    config._attn_implementation = "eager"
    model = kind.from_config(config)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding | tf.pytorch_utils.Conv1D):
            nn.init.normal_(module.weight, std=0.3)
    return model.eval()


def batch(side: str = "right", lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> dict[str, Tensor]:
    """Random token ids, none of them 0 or 1, padded on one side."""
    generator = torch.Generator().manual_seed(seed)
    most = max(lengths)
    ids = torch.randint(5, VOCABULARY, (len(lengths), most), generator=generator)
    place = torch.arange(most) if side == "right" else torch.arange(most).flip(0)
    mask = (place < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": torch.where(mask == 1, ids, 1), "attention_mask": mask}


def hidden(model: PreTrainedModel, implementation: str, **inputs: Any) -> Tensor:
    """Last hidden states under an attention implementation."""
    model.set_attn_implementation(implementation)
    with torch.inference_mode():
        return model(**inputs).last_hidden_state


def error(a: Tensor, b: Tensor, where: Tensor | None = None) -> float:
    """Largest difference, relative to the size of what is compared."""
    keep = torch.ones(a.shape[:2], dtype=torch.bool) if where is None else where.bool()
    return float((a - b)[keep].abs().max() / b[keep].abs().max())
