"""Bugs planted in a model of one's own: each a method, and the same method without it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tests.zoo.mini import LAYERS, WIDTH, Mini, MiniClassifier, MiniEncoder

# The last layer: what is wrong there alone is hardest to see.
LAST = LAYERS - 1


class FutureByOne(Mini):
    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        if not self.planted or number != LAST:
            return super().pattern(number, queries, keys)
        return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries + 1)


class FutureWithoutMask(Mini):
    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        if self.planted and mask is None:
            return torch.ones(1, 1, queries, keys, dtype=torch.bool)
        return super().allowed(number, mask, batch, queries, keys)


class FutureUnderOnes(Mini):
    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        if self.planted and mask is not None and bool((mask == 1).all()):
            return torch.ones(1, 1, queries, keys, dtype=torch.bool)
        return super().allowed(number, mask, batch, queries, keys)


class FutureInTraining(Mini):
    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        attends = super().pattern(number, queries, keys)
        return torch.ones_like(attends) if self.planted and self.training else attends


class FutureAlone(Mini):
    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        attends = super().allowed(number, mask, batch, queries, keys)
        return attends | attends.any(-2, keepdim=True) if self.planted and batch == 1 else attends


class LooksAhead(Mini):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x + 0.5 * x.roll(-1, 1) if self.planted else x


class NoMaskAlone(Mini):
    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        return super().allowed(number, None if self.planted and batch == 1 else mask, batch, queries, keys)


class ConvolvesPadsAlone(MiniEncoder):
    """A convolution, before which padding is set to zero; in a batch of one it is not."""

    def __init__(self, planted: bool = False) -> None:
        super().__init__(planted)
        self.convolution = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        heeded = mask is not None and not (self.planted and len(x) == 1)
        tokens = x * mask[..., None].to(x.dtype) if mask is not None and heeded else x
        return x + self.convolution(tokens.mT).mT


class NoMaskInOneLayer(Mini):
    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        return super().allowed(number, None if self.planted and number == LAST else mask, batch, queries, keys)


class NoMaskInOneHead(Mini):
    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        attends = super().allowed(number, mask, batch, queries, keys).expand(-1, 4, -1, -1).clone()
        if self.planted:
            attends[:, 2] = super().allowed(number, None, batch, queries, keys)[:, 0]
        return attends


class NoMaskInTraining(Mini):
    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        return super().allowed(number, None if self.planted and self.training else mask, batch, queries, keys)


class LengthsOnly(MiniEncoder):
    """The mask is read as a length: right for padding on the right alone."""

    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        if self.planted and mask is not None:
            mask = (torch.arange(keys) < (mask == 1).sum(1, keepdim=True)).long()
        return super().allowed(number, mask, batch, queries, keys)


class Inverted(MiniEncoder):
    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        if self.planted and mask is not None and not bool((mask == 1).all()):
            mask = 1 - mask.long()
        return super().allowed(number, mask, batch, queries, keys)


class MeanOverTokens(MiniEncoder):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.planted or mask is None:
            return x - x.mean(1, keepdim=True)
        tokens = (mask == 1)[..., None]
        return x - x.masked_fill(~tokens, 0).sum(1, keepdim=True) / tokens.sum(1, keepdim=True).clamp(min=1)


class SpreadOverTime(MiniEncoder):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return x / x.std(1, keepdim=True) if self.planted else x


class MaxOverTokens(MiniEncoder):
    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        seen = x if self.planted or mask is None else x.masked_fill((mask != 1)[..., None], -100.0)
        return x + 0.5 * seen.amax(1, keepdim=True)


class CountsFromOne(Mini):
    """Positions are counted over the tokens, from 1 where there is padding and from 0 where there is none."""

    def positions(self, ids: Tensor, mask: Tensor | None, given: Tensor | None, past: int) -> Tensor:
        if mask is None or given is not None or mask.shape != ids.shape:
            return super().positions(ids, mask, given, past)
        counted = (mask == 1).long().cumsum(1)
        return counted if self.planted and bool((mask != 1).any()) else (counted - 1).clamp(min=0)


class IgnoresPositions(Mini):
    """Position ids are taken and forgotten."""

    def positions(self, ids: Tensor, mask: Tensor | None, given: Tensor | None, past: int) -> Tensor:
        return super().positions(ids, mask, None if self.planted else given, past)


class Windowed(Mini):
    window = 7


class WindowTooWide(Windowed):
    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        self.window = 8 if self.planted else 7
        return super().pattern(number, queries, keys)


class WindowTooNarrow(Windowed):
    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        self.window = 6 if self.planted else 7
        return super().pattern(number, queries, keys)


class WindowMissing(Windowed):
    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        self.window = None if self.planted and number == LAST else 7
        return super().pattern(number, queries, keys)


class Prefixed(Mini):
    """A prefix of 6 tokens that see each other."""

    prefix = 6

    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        return super().pattern(number, queries, keys) | (torch.arange(keys) < self.prefix)


class PrefixNotSeen(Prefixed):
    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        self.prefix = 0 if self.planted else 6
        return super().pattern(number, queries, keys)


class PrefixTooLong(Prefixed):
    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        self.prefix = 7 if self.planted else 6
        return super().pattern(number, queries, keys)


class Spans(Mini):
    """Two images of 4 tokens in a text, the tokens of each see each other."""

    ids = (-1, -1, 0, 0, 0, 0, -1, -1, 1, 1, 1, 1)

    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        ids = torch.full((keys,), -1)
        ids[: len(self.ids)] = torch.tensor(self.ids)[:keys]
        same = self.together(ids[:, None], ids[None])[keys - queries :]
        return super().pattern(number, queries, keys) | same

    def together(self, one: Tensor, other: Tensor) -> Tensor:
        return (one == other) & (one >= 0)


class SpansAcross(Spans):
    def together(self, one: Tensor, other: Tensor) -> Tensor:
        return (one >= 0) & (other >= 0) if self.planted else super().together(one, other)


class SpansNotSeen(Spans):
    def together(self, one: Tensor, other: Tensor) -> Tensor:
        return torch.zeros_like(one == other) if self.planted else super().together(one, other)


class Documents(Mini):
    """Two documents in every row, the second from position 8 on."""

    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        q, k = torch.arange(keys - queries, keys)[:, None], torch.arange(keys)
        edge = 9 if self.planted else 8
        return super().pattern(number, queries, keys) & ((q >= edge) == (k >= edge))


class PackedInSomeLayers(Mini):
    """Tells texts of a row apart by positions that begin anew."""

    def positions(self, ids: Tensor, mask: Tensor | None, given: Tensor | None, past: int) -> Tensor:
        self.text = None if given is None else (given == 0).cumsum(1)
        return super().positions(ids, mask, given, past)

    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        allowed = super().allowed(number, mask, batch, queries, keys)
        if self.text is None or mask is not None or self.text.shape[1] != keys or (self.planted and number == 1):
            return allowed
        return allowed & (self.text[:, None, :, None] == self.text[:, None, None, :])


class SmallConstant(MiniEncoder):
    def attend(self, number: int, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        constant = -1e4 if self.planted else torch.finfo(torch.float32).min
        scores = q @ k.mT / q.shape[-1] ** 0.5 + torch.where(allowed, 0.0, constant).to(q.dtype).clamp(
            min=torch.finfo(q.dtype).min
        )
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class SumOverflows(Mini):
    """The bias of the distance is added to the lowest number: in half precision that is -inf, and a row NaN."""

    def attend(self, number: int, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        low, keys = torch.finfo(q.dtype).min, torch.arange(k.shape[2])
        bias = -2.0 * (keys - keys[-q.shape[2] :, None]).abs().to(q.dtype)
        scores = q @ k.mT / q.shape[-1] ** 0.5
        if self.planted:
            scores = scores + torch.where(allowed, 0.0, low).to(q.dtype) + bias - 40
        else:
            scores = (scores + bias).masked_fill(~allowed, low)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class NaNRows(Mini):
    """-inf where nothing is allowed: a row without a key is NaN, and so is what reads it as a value."""

    def attend(self, number: int, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        if not self.planted:
            return super().attend(number, q, k, v, allowed)
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(~allowed, -torch.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class NaNGradients(MiniEncoder):
    """Rows without a key are put right after the division by 0: the output is finite, its gradient is not."""

    def attend(self, number: int, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        if not self.planted:
            return super().attend(number, q, k, v, allowed)
        weights = (q @ k.mT / q.shape[-1] ** 0.5).exp() * allowed
        return ((weights / weights.sum(-1, keepdim=True)).nan_to_num(0.0) @ v).transpose(1, 2).flatten(2)


class CacheForgetsPositions(Mini):
    def positions(self, ids: Tensor, mask: Tensor | None, given: Tensor | None, past: int) -> Tensor:
        if self.planted and past:
            return torch.arange(ids.shape[1])[None]
        return super().positions(ids, mask, given, past)


class CacheForgetsPadding(Mini):
    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        return super().allowed(number, None if self.planted and keys > queries else mask, batch, queries, keys)


class CacheAlignsAtTheStart(Mini):
    """The causal mask of a chunk is that of the first queries."""

    def pattern(self, number: int, queries: int, keys: int) -> Tensor:
        if self.planted and 1 < queries < keys:
            return torch.ones(queries, keys, dtype=torch.bool).tril()
        return super().pattern(number, queries, keys)


class WindowOnlyUnderAMask(Windowed):
    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        self.window = None if self.planted and mask is None else 7
        return super().allowed(number, mask, batch, queries, keys)


class HiddenGradient(MiniEncoder):
    """The forward pass is right; a straight-through term carries a gradient to padding."""

    def mix(self, x: Tensor, mask: Tensor | None) -> Tensor:
        mean = x.mean(1, keepdim=True)
        return x + (mean - mean.detach()) if self.planted else x


class LossCountsPadding(MiniEncoder):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.planted:
            labels = labels.clamp(min=0)
        return super().loss(logits, labels)


class LossDividesByPlaces(MiniEncoder):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        total = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        return total / (labels.numel() if self.planted else (labels >= 0).sum())


class LossOfTexts(MiniEncoder):
    """The mean of the means of the texts, instead of that of the targets."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if not self.planted:
            return super().loss(logits, labels)
        return torch.stack([cross_entropy(one, label) for one, label in zip(logits, labels, strict=True)]).mean()


class MeanOverPadding(MiniClassifier):
    def read(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.head(x.mean(1)) if self.planted else super().read(x, mask)


class ReadsTheLastPlace(MiniClassifier):
    def read(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.head(x[:, -1]) if self.planted else super().read(x, mask)


class ReadsTheFirstPlace(MiniClassifier):
    def read(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.head(x[:, 0]) if self.planted else super().read(x, mask)


class LastByCount(MiniClassifier):
    """The last token is found by the number of tokens: right for padding on the right alone."""

    def read(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if not self.planted or mask is None:
            return super().read(x, mask)
        return self.head(x[torch.arange(len(x)), (mask == 1).sum(1) - 1])


class BoolsMeanPadding(MiniEncoder):
    """A mask of bools is read as nn.MultiheadAttention reads it: True drops a key."""

    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        if self.planted and mask is not None and mask.dtype == torch.bool:
            mask = ~mask
        return super().allowed(number, mask, batch, queries, keys)


class FloatsAreAdded(MiniEncoder):
    """A mask of floats is added to the scores, ones and zeros too."""

    def attend(self, number: int, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        if not self.planted or self.floats is None:
            return super().attend(number, q, k, v, allowed)
        scores = q @ k.mT / q.shape[-1] ** 0.5 + self.floats[:, None, None].to(q.dtype)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)

    def allowed(self, number: int, mask: Tensor | None, batch: int, queries: int, keys: int) -> Tensor:
        self.floats = mask if mask is not None and mask.is_floating_point() else None
        return super().allowed(number, mask, batch, queries, keys)


class TorchEncoder(nn.Module):
    """nn.TransformerEncoder, given the mask of tokens where it wants that of padding."""

    def __init__(self, planted: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.planted = planted
        self.tokens = nn.Embedding(100, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        padding = None if attention_mask is None or bool((attention_mask == 1).all()) else attention_mask != 1
        if self.planted and padding is not None:
            padding = ~padding
        return self.encoder(self.tokens(input_ids), src_key_padding_mask=padding)
