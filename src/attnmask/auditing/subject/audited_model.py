"""What is audited: a model, what it takes, and which mask it is declared to obey."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from attnmask.auditing.expected.declared_masks import reach_through_layers, required_length
from attnmask.auditing.report.verdict import CouldNotRunError
from attnmask.auditing.subject.audited_copy import replaced_by_copy
from attnmask.auditing.subject.declared_spans import SpanRule
from attnmask.auditing.subject.fresh_copy import reset_to_uncalled
from attnmask.auditing.subject.model_outputs import Name, cache_name, output_parts, token_outputs
from attnmask.conventions import BoolArray
from attnmask.mask.expression import Mask

LENGTH = 20
SHORT = 13
PASSED_ON = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
USUAL = ("input_ids", "attention_mask")


class ModelKind(StrEnum):
    """What a token may see at all."""

    CAUSAL = "causal"
    BIDIRECTIONAL = "bidirectional"
    ENCODER_DECODER = "encoder-decoder"


@dataclass(frozen=True)
class Run:
    """One call of a model.

    Attributes:
        inputs: keyword arguments. implementation: of attention, "" for the model's own.
        train, grad: the mode. chunks: where to cut the queries for a cache; () for one call without.
    """

    inputs: Mapping[str, Any]
    implementation: str = ""
    train: bool = False
    grad: bool = False
    chunks: tuple[int, ...] = ()


@dataclass
class Subject:
    """A model to audit.

    Attributes:
        name: for people. model: a copy, in float64 where it runs so. kind: what a token may see.
        source: lines of a script that make ``model``. layers: declared masks by layer, without padding; None where a
            layer mixes tokens without a mask. tokens: ids that stand for nothing special. pad: id of padding.
        implementations: of attention that run. first: position of the first token.
        forward: how to call the model where it does not take input_ids and attention_mask; it calls ``original``, the
            module that ``model`` is a copy of.
        output: name of what is compared, in what the model returns; "" where it returns a tensor. pick: that in code.
        span_rule: how tokens are marked as spans; None where none are. keeps: whether the model keeps something of
            earlier calls that changes later ones.
    """

    name: str
    model: nn.Module
    kind: ModelKind
    source: tuple[str, ...]
    layers: Sequence[Mask | None] | None = None
    tokens: Tensor = field(default_factory=lambda: torch.arange(5, 100))
    pad: int = 0
    implementations: tuple[str, ...] = ("",)
    first: int = 0
    forward: Callable[..., Any] | None = None
    original: nn.Module | None = None
    output: Name = ""
    pick: str = ""
    span_rule: SpanRule | None = None
    keeps_state: bool = False

    @property
    def config(self) -> Any:
        """The model's config; None if it has none."""
        return transformers_config(self.model)

    @property
    def takes(self) -> frozenset[str]:
        """Names of the arguments of its forward; one that passes all on is taken to know the usual ones."""
        parameters = inspect.signature(self.forward or self.model.forward).parameters
        named = frozenset(name for name, one in parameters.items() if one.kind not in PASSED_ON)
        return named or frozenset(USUAL)

    @property
    def requires_mask(self) -> bool:
        """Whether it cannot be called without a mask."""
        own = inspect.signature(self.forward or self.model.forward).parameters.get("attention_mask")
        return own is not None and own.default is inspect.Parameter.empty

    @property
    def is_transformers(self) -> bool:
        """Whether the model comes from transformers."""
        return hasattr(self.model, "_can_set_attn_implementation")

    @cached_property
    def is_pooled(self) -> bool:
        """Whether it gives one vector an item."""
        plain = plain_inputs(self)
        rows = self.run(Run(plain)).shape[1]
        return rows == 1 and plain["input_ids"].shape[1] > 1

    @property
    def length(self) -> int:
        """Tokens of the longest text of a probe: more than a window, a chunk and their neighbours."""
        return required_length(self.layers) or max(LENGTH, min(_widest_window(self.config) + 12, 96))

    @property
    def short(self) -> int:
        """Tokens of the other text."""
        return self.length - LENGTH + SHORT

    def run(self, run: Run) -> Tensor:
        """Output at every token, (B, L, D); (B, 1, D) if the model gives one vector an item.

        Raises:
            CouldNotRunError: whatever the model raises, by its name.
        """
        model = self.model
        self.use(run.implementation)
        model.train(run.train)
        try:
            with torch.set_grad_enabled(run.grad):
                return _chunked(self, run) if run.chunks else token_outputs(self.call(run.inputs), self.output)
        except Exception as error:  # whatever a model's own code raises
            raise CouldNotRunError(f"{type(error).__name__}: {_first_line(error)}") from error
        finally:
            model.eval()

    def call(self, inputs: Mapping[str, Any]) -> Any:
        """What the model returns."""
        # As they are in use: some code takes views of what it is given.
        given = {name: value.contiguous() if isinstance(value, Tensor) else value for name, value in inputs.items()}
        if self.forward is None or self.original is None:
            return self.model(**given)
        with replaced_by_copy(self.original, self.model):
            return self.forward(**given)

    def use(self, implementation: str) -> None:
        """Switch the implementation of attention, and forget earlier calls where the model keeps something of them."""
        if self.keeps_state and self.original is not None:
            reset_to_uncalled(self.original, self.model)
            disable_dropout(self.model)
        if implementation and self.is_transformers:
            model: Any = self.model
            if model.config._attn_implementation != implementation:
                model.set_attn_implementation(implementation)

    def reach(self, length: int, tokens: Tensor | None = None) -> BoolArray | None:
        """Which token can influence which through all layers, bool (L, L); None if nothing is declared."""
        return reach_through_layers(self.layers, length, tokens)

    def text(self, seed: int, length: int | None = None) -> Tensor:
        """Random ids of tokens that mean nothing special, (1, L)."""
        generator = torch.Generator().manual_seed(seed)
        at = torch.randint(len(self.tokens), (1, length or self.length), generator=generator)
        return self.tokens[at]


def transformers_config(model: nn.Module) -> Any:
    """The config of a model of transformers; other models call what they like ``config``."""
    own = getattr(model, "config", None)
    return own if hasattr(own, "to_dict") else None


def _chunked(subject: Subject, run: Run) -> Tensor:
    """The same through a cache, some queries at a time."""
    inputs = dict(run.inputs)
    total = inputs["input_ids"].shape[1]
    cuts = [0, *run.chunks, total]
    cache: Any = None
    parts: list[Tensor] = []
    for start, stop in pairwise(cuts):
        some = dict(inputs)
        some["input_ids"] = inputs["input_ids"][:, start:stop]
        if "attention_mask" in inputs:
            some["attention_mask"] = inputs["attention_mask"][:, :stop]
        if "position_ids" in inputs:
            some["position_ids"] = inputs["position_ids"][:, start:stop]
        found = subject.call(some | {"past_key_values": cache, "use_cache": True})
        cache = output_parts(found)[cache_name(found)]
        parts.append(token_outputs(found, subject.output))
    return torch.cat(parts, 1)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")[:160]


def _widest_window(config: Any) -> int:
    """The widest window or chunk that a config names."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    names = ("sliding_window", "attention_chunk_size", "local_attention")
    sizes = [getattr(text, name, None) for name in names]
    return max((size for size in sizes if isinstance(size, int)), default=0)


def in_float64_if_exact(subject: Subject) -> Subject:
    """The subject in float64 if it runs so in every implementation: then a leak stands out from rounding.

    Many models take the softmax in float32 whatever their dtype, in which float64's lowest number is -inf: a row
    without a key is then NaN, which it is in no dtype that people use. Those stay in float32.
    """
    doubled = replace(subject, model=copy.deepcopy(subject.model).double())
    inputs = plain_inputs(doubled)
    if "attention_mask" in inputs:
        inputs["attention_mask"] = (torch.arange(inputs["input_ids"].shape[1]) >= 5).long()[None]
    with suppress(CouldNotRunError):
        outs = [doubled.run(Run(inputs, implementation)) for implementation in doubled.implementations]
        tokens = [out if out.shape[1] == 1 else out[:, 5:] for out in outs]
        if all(out.dtype == torch.float64 and bool(torch.isfinite(out).all()) for out in tokens):
            return doubled
    return subject


def plain_inputs(subject: Subject, seed: int = 0) -> dict[str, Tensor]:
    """One text without padding."""
    ids = subject.text(seed)
    inputs = {"input_ids": ids}
    if "attention_mask" in subject.takes:
        inputs["attention_mask"] = torch.ones_like(ids)
    return inputs | extra_inputs(subject, ids, torch.ones_like(ids, dtype=torch.bool))


def extra_inputs(subject: Subject, ids: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """What else the model must be given; ``tokens`` are those that are no padding."""
    more: dict[str, Tensor] = {}
    if subject.span_rule is not None:
        more[subject.span_rule.argument] = subject.span_rule.types(tokens)
    if subject.kind is ModelKind.ENCODER_DECODER:
        more["decoder_input_ids"] = subject.text(99, 9).expand(len(ids), -1).clone()
    if "bbox" in subject.takes:
        more["bbox"] = torch.tensor([0, 0, 5, 5]).expand(*ids.shape, 4).clone()
    return more


@contextmanager
def dropout_disabled(model: nn.Module) -> Generator[None]:
    """Every chance of dropping something set to 0."""
    before = disable_dropout(model)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def disable_dropout(model: nn.Module) -> list[tuple[Any, str, float]]:
    """Set every chance of dropping something to 0; where it was, and what."""
    before: list[tuple[Any, str, float]] = []
    owners: list[Any] = [*model.modules(), *filter(None, [getattr(model, "config", None)])]
    for owner in owners:
        for name, value in list(_attributes(owner).items()):
            dropping = "drop" in name or (name == "p" and "Dropout" in type(owner).__name__)
            if dropping and isinstance(value, float) and value > 0:
                before.append((owner, name, value))
                setattr(owner, name, 0.0)
    return before


def _attributes(owner: Any) -> dict[str, Any]:
    return getattr(owner, "__dict__", {})
