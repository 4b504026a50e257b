"""A small transformer, written so that a bug can be planted in any one of its methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

VOCABULARY, WIDTH, HEADS, LAYERS, PLACES = 100, 32, 4, 2, 128


class Output(dict[str, Any]):
    """What a model returns: by name, and as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Mini(nn.Module):
    """Causal, or bidirectional where ``causal`` is false; ``planted`` tells the bug of a subclass to show itself."""

    causal = True
    window: int | None = None

    def __init__(self, planted: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.planted = planted
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(PLACES, WIDTH)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(LAYERS))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, VOCABULARY)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=1.7 / WIDTH**0.5)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: list[tuple[Tensor, Tensor]] | None = None,
        use_cache: bool = False,
        labels: Tensor | None = None,
    ) -> Output:
        past = 0 if past_key_values is None else past_key_values[0][0].shape[2]
        places = self.positions(input_ids, attention_mask, position_ids, past)
        x = self.tokens(input_ids) + self.places(places)
        cache: list[tuple[Tensor, Tensor]] = []
        for number in range(LAYERS):
            q, k, v = self.projected(number, x)
            if past_key_values is not None:
                k, v = (torch.cat([old, new], 2) for old, new in zip(past_key_values[number], (k, v), strict=True))
            cache.append((k, v))
            allowed = self.allowed(number, attention_mask, len(x), q.shape[2], k.shape[2])
            x = x + self.attend(number, q, k, v, allowed)
            x = self.mix(x, attention_mask)
        out = Output(logits=self.read(x, attention_mask))
        if labels is not None:
            out["loss"] = self.loss(out.logits, labels)
        if use_cache:
            out["past_key_values"] = cache
        return out

    def positions(self, ids: Tensor, mask: Tensor | None, given: Tensor | None, past: int) -> Tensor:
        """Where every token stands."""
        return torch.arange(past, past + ids.shape[1])[None] if given is None else given

    def projected(self, number: int, x: Tensor) -> list[Tensor]:
        """Queries, keys and values, each (B, H, L, D)."""
        x = self.layers[number](self.norms[number](x))
        return [part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in x.chunk(3, -1)]

    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        """Which pairs attend, bool (B or 1, H or 1, Q, K)."""
        attends = self.pattern(number, queries, keys)[None, None]
        return attends if mask is None else attends & (mask == 1)[:, None, None, :keys]

    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        """The same without padding, bool (Q, K)."""
        q, k = torch.arange(queries)[:, None] + keys - queries, torch.arange(keys)
        attends = (k <= q) if self.causal else torch.ones(queries, keys, dtype=torch.bool)
        return attends if self.window is None else attends & (q - k <= self.window)

    def attend(self, number: int, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        """Output (B, L, D) of attention."""
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~allowed, torch.finfo(torch.float32).min)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Whatever else happens between tokens: nothing."""
        return x

    def read(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Logits of every token."""
        return self.head(x)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over targets."""
        if self.causal:
            logits, labels = logits[:, :-1], labels[:, 1:]
        return cross_entropy(logits.flatten(0, 1), labels.flatten())


class MiniEncoder(Mini):
    """The bidirectional one."""

    causal = False


class MiniClassifier(MiniEncoder):
    """One vector a text: the mean of its tokens."""

    def read(self, x: Tensor, mask: Tensor | None) -> Tensor:
        tokens = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask == 1
        return self.head(x.masked_fill(~tokens[..., None], 0).sum(1) / tokens.sum(1, keepdim=True))
