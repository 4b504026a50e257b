"""Models in the styles in which people write them, each with one thing wrong or right."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS, WORDS, PLACES = 32, 4, 120, 64


class Attention(nn.Module):
    """Written with einsum; ``attend`` and ``allowed`` are those of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, allowed: Tensor, attend: Callable[..., Tensor]) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)) for part in self.qkv(self.norm(x)).chunk(3, -1))
        return x + self.out(attend(q, k, v, allowed).flatten(2))


class Einsum(nn.Module):
    """Two layers; ``planted`` tells the bug of a subclass to show itself."""

    causal = False

    def __init__(self, planted: bool = False) -> None:
        super().__init__()
        self.planted, self.embed, self.head = planted, nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS)
        self.layers = nn.ModuleList(Attention() for _ in range(2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        x = self.placed(self.embed(input_ids))
        for layer in self.layers:
            x = layer(x, self.allowed(input_ids, attention_mask), self.attend)
        return self.read(x, attention_mask)

    def placed(self, x: Tensor) -> Tensor:
        return x

    def allowed(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        attends = torch.ones(len(ids), 1, ids.shape[1], ids.shape[1], dtype=torch.bool)
        attends = attends.tril() if self.causal else attends
        return attends if mask is None else attends & (mask == 1)[:, None, None, :]

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])

    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        scores = self.scores(q, k)
        return self.mixed(scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(-1), v)

    def mixed(self, weights: Tensor, v: Tensor) -> Tensor:
        return torch.einsum("bhqk,bkhd->bqhd", weights, v)

    def read(self, x: Tensor, mask: Tensor | None) -> Any:
        return self.head(x)


class MaskedBehind(Einsum):
    """Weights are multiplied by the mask behind the softmax; the planted one does not divide by what is left."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        weights = self.scores(q, k).softmax(-1) * allowed
        return self.mixed(weights if self.planted else weights / weights.sum(-1, keepdim=True).clamp(min=1e-9), v)


class MaskKept(Einsum):
    """The mask of a shape is made once, and kept for every later batch of it."""

    def allowed(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        self.kept: dict[torch.Size, Tensor] = getattr(self, "kept", {})
        if not self.planted or ids.shape not in self.kept:
            self.kept[ids.shape] = super().allowed(ids, mask)
        return self.kept[ids.shape]


class GrowingBuffer(Einsum):
    """The causal mask of the first text is padded for longer ones, with what lets them see everything."""

    causal = True

    def allowed(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        length = ids.shape[1]
        self.buffer: Tensor = getattr(self, "buffer", torch.ones(length, length, dtype=torch.bool).tril())
        if len(self.buffer) < length:
            more = length - len(self.buffer)
            grown = F.pad(self.buffer, (0, more, 0, more), value=True)
            self.buffer = grown if self.planted else torch.ones_like(grown).tril()
        attends = self.buffer[None, None, :length, :length]
        return attends if mask is None else attends & (mask == 1)[:, None, None, :]


class RefusedInHalf(Einsum):
    """A constant that float16 does not hold, where anything is masked."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        scores = self.scores(q, k)
        lowest = -1e9 if self.planted and not bool(allowed.all()) else torch.finfo(scores.dtype).min
        return self.mixed(scores.masked_fill(~allowed, lowest).softmax(-1), v)


class AcrossTheBatch(Einsum):
    """(B, L, D) is given to an attention that wants (L, B, D)."""

    def __init__(self, planted: bool = False) -> None:
        super().__init__(planted)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        x = self.embed(input_ids)
        if self.planted:
            return self.head(x + self.attention(x, x, x)[0])
        x, padding = x.transpose(0, 1), None if attention_mask is None else attention_mask == 0
        mixed = self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0]
        return self.head((x + mixed).transpose(0, 1))


class FirstOfPacked(Einsum):
    """Texts of a row are told apart by positions that begin anew; the first token of each is taken for the last's."""

    causal = True

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None):  # pyright: ignore
        self.places = position_ids
        return super().forward(input_ids, attention_mask)

    def allowed(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        attends = super().allowed(ids, mask)
        if mask is not None or self.places is None:
            return attends
        text = (self.places == 0).cumsum(1)
        if self.planted:
            text = text.roll(1, 1)
        return attends & (text[:, None, :, None] == text[:, None, None, :])


class QueriesForKeys(Einsum):
    """The mask on the wrong axis."""

    def allowed(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        return super().allowed(ids, mask).mT if self.planted else super().allowed(ids, mask)


class Fields(NamedTuple):
    """Two tensors by name and by place."""

    scores: Tensor
    states: Tensor


OUTPUTS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tuple": lambda scores, x: (scores, None),
    "list": lambda scores, x: [scores],
    "named tuple": Fields,
    "a number first": lambda scores, x: (scores.sum(), scores),
    "dict with other names": lambda scores, x: {"loss": None, "scores": scores},
    "attributes": lambda scores, x: SimpleNamespace(loss=None, logits=scores),
}


class Returns(QueriesForKeys):
    """The same, in one of ``OUTPUTS``."""

    def __init__(self, planted: bool, form: str) -> None:
        super().__init__(planted)
        self.form = form

    def read(self, x: Tensor, mask: Tensor | None) -> Any:
        return OUTPUTS[self.form](self.head(x), x)


class PassesOn(nn.Module):
    """A wrapper whose forward names nothing."""

    def __init__(self, planted: bool) -> None:
        super().__init__()
        self.inner = QueriesForKeys(planted)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


def waves(length: int) -> Tensor:
    """Sinusoidal positions, (L, D)."""
    angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, WIDTH, 2) / WIDTH)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


class Placed(Einsum):
    """Absolute positions that no module of their own makes: "buffer", "parameter" or "function"."""

    def __init__(self, how: str, is_pooled: bool = False) -> None:
        super().__init__()
        self.how, self.is_pooled = how, is_pooled
        self.register_buffer("pe", waves(PLACES)[None])
        self.table = nn.Parameter(torch.randn(1, PLACES, WIDTH))

    def placed(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        if self.how == "function":
            return x + waves(length).to(x.dtype)
        return x + (self.pe if self.how == "buffer" else self.table)[:, :length]

    def read(self, x: Tensor, mask: Tensor | None) -> Any:
        if not self.is_pooled:
            return super().read(x, mask)
        tokens = torch.ones(x.shape[:2]) if mask is None else mask
        return self.head((x * tokens[..., None]).sum(1) / tokens.sum(1, keepdim=True))


class InTraining(Einsum):
    """Statistics of the batch, which padding counts in."""

    def __init__(self) -> None:
        super().__init__()
        self.over_batch = nn.BatchNorm1d(WIDTH)

    def read(self, x: Tensor, mask: Tensor | None) -> Any:
        return self.head(self.over_batch(x.mT).mT)


class Nano(nn.Module):
    """As nanoGPT: called with ids and targets, its causal mask a buffer; without targets it gives the last logits."""

    def __init__(self, planted: bool = False) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(WORDS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.c_attn, self.c_proj, self.lm_head = (nn.Linear(WIDTH, n) for n in (3 * WIDTH, WIDTH, WORDS))
        self.register_buffer("bias", torch.ones(PLACES, PLACES).tril(1 if planted else 0))

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        rows, length = idx.shape
        x = self.wte(idx) + self.wpe(torch.arange(length))
        q, k, v = (part.view(rows, length, HEADS, -1).transpose(1, 2) for part in self.c_attn(x).split(WIDTH, 2))
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(k.shape[-1])
        scores = scores.masked_fill(self.bias[:length, :length] == 0, float("-inf"))
        x = x + self.c_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, length, WIDTH))
        if targets is None:
            return self.lm_head(x[:, [-1]]), None
        logits = self.lm_head(x)
        return logits, F.cross_entropy(logits.view(-1, WORDS), targets.view(-1))


class Translator(nn.Module):
    """nn.Transformer, called in its own way; planted, the decoder sees the encoder's padding."""

    def __init__(self, planted: bool = False) -> None:
        super().__init__()
        self.planted, self.source, self.target = planted, nn.Embedding(WORDS, WIDTH), nn.Embedding(WORDS, WIDTH)
        self.transformer = nn.Transformer(WIDTH, HEADS, 2, 2, 64, batch_first=True)

    def forward(self, source: Tensor, target: Tensor, padding: Tensor) -> Tensor:
        x, y = self.source(source), self.target(target)
        future = nn.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=x.dtype)
        return self.transformer(
            x,
            y,
            tgt_mask=future,
            src_key_padding_mask=padding,
            memory_key_padding_mask=None if self.planted else padding,
        )


class Cache:
    """A person's own: keys and values of one layer."""

    def __init__(self) -> None:
        self.kept: tuple[Tensor, Tensor] | None = None

    def add(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.kept is not None:
            k, v = (torch.cat([old, new], 2) for old, new in zip(self.kept, (k, v), strict=True))
        self.kept = k, v
        return k, v


class Decoder(nn.Module):
    """Returns logits and its cache; planted, fewer queries than keys are aligned at the start."""

    def __init__(self, planted: bool = False) -> None:
        super().__init__()
        self.planted, self.embed = planted, nn.Embedding(WORDS, WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WORDS)

    def forward(self, ids: Tensor, mask: Tensor | None = None, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        cache, x = cache or Cache(), self.embed(ids)
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        k, v = cache.add(k, v)
        queries, keys = q.shape[2], k.shape[2]
        attends = torch.ones(queries, keys, dtype=torch.bool).tril(0 if self.planted else keys - queries)
        if mask is not None:
            attends = attends & mask[:, None, None, :keys].bool()
        attends = attends | torch.eye(keys, dtype=torch.bool)[keys - queries :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attends)
        return self.out(x + mixed.transpose(1, 2).flatten(2)), cache
