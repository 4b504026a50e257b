"""The zoo: every planted bug, and what the audit must call it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn

import attnmask as am
from attnmask.mask.expression import Mask
from tests.zoo import own, patched

Make = Callable[[bool], nn.Module]


@dataclass(frozen=True)
class Bug:
    """One planted bug.

    Attributes:
        name: what is wrong. make: the model, with the bug or repaired. probe: which must find it.
        cause: words of the cause, or of where. mask: what the model declares; a config declares its own.
    """

    name: str
    make: Make
    probe: str
    cause: str = ""
    mask: Mask | Sequence[Mask] | None = None


CAUSAL, FULL = am.causal(), am.full()
WINDOW = am.window(left=7, right=0)
DOCUMENTS = CAUSAL & am.documents(lengths=[8, 12])
SPANS = am.causal() | am.spans([*own.Spans.ids, *[-1] * 8])
NOT_CAUSAL, NO_MASK, PADDING = "not causal", "no mask arrives", "padding is attended to"

BUGS = [
    Bug("a causal mask one off in the last layer", own.FutureByOne, "future leak", NOT_CAUSAL, CAUSAL),
    Bug("no causal mask where none is given", own.FutureWithoutMask, "future leak", NO_MASK, CAUSAL),
    Bug("no causal mask where all are tokens", own.FutureUnderOnes, "future leak", NO_MASK, CAUSAL),
    Bug("no causal mask in training", own.FutureInTraining, "future leak", NO_MASK, CAUSAL),
    Bug("no causal mask in a batch of one", own.FutureAlone, "future leak", NO_MASK, CAUSAL),
    Bug("a convolution that looks ahead", own.LooksAhead, "future leak", "something else mixes", CAUSAL),
    Bug("no padding mask in a batch of one", own.NoMaskAlone, "padding leak", PADDING, CAUSAL),
    Bug("a convolution over padding in a batch of one", own.ConvolvesPadsAlone, "padding leak", "ignored in", FULL),
    Bug("no padding mask in the last layer", own.NoMaskInOneLayer, "padding leak", PADDING, CAUSAL),
    Bug("no padding mask in one head", own.NoMaskInOneHead, "mask of a layer", "head 2", CAUSAL),
    Bug("no padding mask in training", own.NoMaskInTraining, "padding leak", PADDING, CAUSAL),
    Bug("a mask read as a length", own.LengthsOnly, "padding leak", "", FULL),
    Bug("a mask the wrong way round", own.Inverted, "padding leak", "inverted", FULL),
    Bug("a mask the wrong way round in nn.TransformerEncoder", own.TorchEncoder, "padding leak", "inverted", FULL),
    Bug("a mean over tokens and padding", own.MeanOverTokens, "padding leak", "something else mixes", FULL),
    Bug("a maximum over tokens and padding", own.MaxOverTokens, "padding leak", "something else mixes", FULL),
    Bug("a norm over time", own.SpreadOverTime, "padding inequality", "something else mixes", FULL),
    Bug("positions from 1 beside padding", own.CountsFromOne, "padding inequality", "something else mixes", CAUSAL),
    Bug("position ids that are ignored", own.IgnoresPositions, "padding inequality", "something else mixes", CAUSAL),
    Bug("a window one token too wide", own.WindowTooWide, "reach", "one token too wide", WINDOW),
    Bug("a window one token too narrow", own.WindowTooNarrow, "reach", "one token too narrow", WINDOW),
    Bug("a window missing in one layer", own.WindowMissing, "reach", "more keys", WINDOW),
    Bug("a window only under a mask", own.WindowOnlyUnderAMask, "ones differ from no mask", "", WINDOW),
    Bug("a prefix that is causal", own.PrefixNotSeen, "reach", "fewer keys", CAUSAL | am.prefix([6])),
    Bug("a prefix one token too long", own.PrefixTooLong, "reach", "more keys", CAUSAL | am.prefix([6])),
    Bug("image spans that see each other", own.SpansAcross, "reach", "more keys", SPANS),
    Bug("image spans that are causal", own.SpansNotSeen, "reach", "fewer keys", SPANS),
    Bug("a document's first token in the one before", own.Documents, "reach", "", DOCUMENTS),
    Bug("texts of a row apart in one layer", own.PackedInSomeLayers, "packed leak", "in some layers", CAUSAL),
    Bug("a constant too small for large scores", own.SmallConstant, "additive constant", "too small", FULL),
    Bug("two lowest numbers that overflow", own.SumOverflows, "additive constant", "overflow", CAUSAL),
    Bug("rows without a key that are NaN", own.NaNRows, "padding inequality", "", CAUSAL),
    Bug("rows without a key with NaN gradients", own.NaNGradients, "gradients", "NaN", FULL),
    Bug("a gradient at padding", own.HiddenGradient, "gradients", "", FULL),
    Bug("a cache that forgets positions", own.CacheForgetsPositions, "cache disagrees", "", CAUSAL),
    Bug("a cache that forgets padding", own.CacheForgetsPadding, "cache disagrees", "", CAUSAL),
    Bug("a chunk aligned at the start", own.CacheAlignsAtTheStart, "cache disagrees", "", CAUSAL),
    Bug("a loss over padding", own.LossCountsPadding, "loss counts padding", "", FULL),
    Bug("a loss divided by places", own.LossDividesByPlaces, "loss counts padding", "", FULL),
    Bug("a loss of texts, not of targets", own.LossOfTexts, "loss counts padding", "", FULL),
    Bug("a mean over padding", own.MeanOverPadding, "pooling reads padding", "reads a pad", FULL),
    Bug("a head that reads the last place", own.ReadsTheLastPlace, "pooling reads padding", "reads a pad", FULL),
    Bug("a head that reads the first place", own.ReadsTheFirstPlace, "pooling reads padding", "reads a pad", FULL),
    Bug("a last token found by counting", own.LastByCount, "pooling reads padding", "reads a pad", FULL),
    Bug("bools that mean padding", own.BoolsMeanPadding, "mask misread", "", FULL),
    Bug("floats that are added", own.FloatsAreAdded, "mask misread", "", FULL),
    Bug("padding lost under sdpa", partial(patched.llama, wrong=patched.LlamaSdpa), "implementations disagree"),
    Bug("training without causality", partial(patched.llama, wrong=patched.LlamaAlwaysCausal), "future leak", NO_MASK),
    Bug("a wider window under eager", patched.mistral, "mask of a layer", "one token too wide"),
    Bug("T5 without a mask in cross-attention", patched.t5, "cross-attention sees padding"),
    Bug("BART without one in its last layer", patched.bart, "cross-attention sees padding"),
    Bug("BERT as a decoder without one", patched.bert_decoder, "cross-attention sees padding"),
    Bug("generation without the prompt's mask", patched.llama_generation, "generation disagrees"),
]  # fmt: skip
