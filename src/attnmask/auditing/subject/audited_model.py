"""The subject of an audit: a model, how to call it, and the masks that it declares.

``subject_from_name`` builds a Subject from a module, folder, model type or factory. The probes describe each call as a
``Run`` and execute it by ``Subject.run``, which switches the attention implementation and the mode, and picks the
tensor to compare from what the model returns (``model_outputs``). ``probe_inputs`` makes the padded batches.
"""

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

# Default lengths of the two texts of a probe: the long one, and the one that is padded.
LENGTH = 20
SHORT = 13
PASSED_ON = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
USUAL = ("input_ids", "attention_mask")


class ModelKind(StrEnum):
    """Which tokens a token may attend to."""

    CAUSAL = "causal"
    BIDIRECTIONAL = "bidirectional"
    ENCODER_DECODER = "encoder-decoder"


@dataclass(frozen=True)
class Run:
    """One call of a model.

    Attributes:
        inputs: keyword arguments. implementation: the attention implementation, "" for the model's default.
        train, grad: whether in training mode, and with gradients. chunks: positions at which to cut the queries into
            calls with a cache; () for one call.
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
        name: name in reports. model: a copy, in float64 if that is possible. kind: which tokens a token may attend to.
        source: lines of a script that make ``model``. layers: declared masks by layer, without padding; None for a
            layer without attention or with an unknown mask. tokens: ids of ordinary tokens. pad: the pad id.
        implementations: attention implementations that run. first: position of the first token.
        forward: function to call instead of the model, if it does not take input_ids and attention_mask; it calls
            ``original``, the module that ``model`` is a copy of.
        output: name of the compared tensor in the model's output; "" if the output is a tensor. pick: the same as code.
        span_rule: how tokens are marked as spans; None if they are not. keeps_state: whether earlier calls of the model
            change the outputs of later ones.
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
        """The transformers config of the model, or None."""
        return transformers_config(self.model)

    @property
    def takes(self) -> frozenset[str]:
        """Names of the arguments of forward; input_ids and attention_mask if it has only ``*args, **kwargs``."""
        parameters = inspect.signature(self.forward or self.model.forward).parameters
        named = frozenset(name for name, one in parameters.items() if one.kind not in PASSED_ON)
        return named or frozenset(USUAL)

    @property
    def requires_mask(self) -> bool:
        """Whether attention_mask is a required argument."""
        own = inspect.signature(self.forward or self.model.forward).parameters.get("attention_mask")
        return own is not None and own.default is inspect.Parameter.empty

    @property
    def is_transformers(self) -> bool:
        """Whether the model comes from transformers."""
        return hasattr(self.model, "_can_set_attn_implementation")

    @cached_property
    def is_pooled(self) -> bool:
        """Whether the model returns one vector per item."""
        plain = plain_inputs(self)
        rows = self.run(Run(plain)).shape[1]
        return rows == 1 and plain["input_ids"].shape[1] > 1

    @property
    def length(self) -> int:
        """Number of tokens in the long text of a probe: more than the model's window or chunk, so that masks show."""
        return required_length(self.layers) or max(LENGTH, min(_widest_window(self.config) + 12, 96))

    @property
    def short(self) -> int:
        """Number of tokens in the short text of a probe."""
        return self.length - LENGTH + SHORT

    def run(self, run: Run) -> Tensor:
        """Run the model; return its output at every token, (B, L, D), or (B, 1, D) if it gives one vector per item.

        Raises:
            CouldNotRunError: the model raises an error; the message names it.
        """
        model = self.model
        self.use(run.implementation)
        model.train(run.train)
        try:
            with torch.set_grad_enabled(run.grad):
                return _chunked(self, run) if run.chunks else token_outputs(self.call(run.inputs), self.output)
        except Exception as error:  # a model's code may raise anything
            raise CouldNotRunError(f"{type(error).__name__}: {_first_line(error)}") from error
        finally:
            model.eval()

    def call(self, inputs: Mapping[str, Any]) -> Any:
        """Call the model and return its whole output."""
        # Contiguous, as inputs are in use: some models take views of them.
        given = {name: value.contiguous() if isinstance(value, Tensor) else value for name, value in inputs.items()}
        if self.forward is None or self.original is None:
            return self.model(**given)
        with replaced_by_copy(self.original, self.model):
            return self.forward(**given)

    def use(self, implementation: str) -> None:
        """Switch the attention implementation, and reset a model that keeps state from earlier calls."""
        if self.keeps_state and self.original is not None:
            reset_to_uncalled(self.original, self.model)
            disable_dropout(self.model)
        if implementation and self.is_transformers:
            model: Any = self.model
            if model.config._attn_implementation != implementation:
                model.set_attn_implementation(implementation)

    def reach(self, length: int, tokens: Tensor | None = None) -> BoolArray | None:
        """Return which token can influence which through all layers, bool (L, L); None if a mask is unknown."""
        return reach_through_layers(self.layers, length, tokens)

    def text(self, seed: int, length: int | None = None) -> Tensor:
        """Return random ids of ordinary tokens, (1, L)."""
        generator = torch.Generator().manual_seed(seed)
        at = torch.randint(len(self.tokens), (1, length or self.length), generator=generator)
        return self.tokens[at]


def transformers_config(model: nn.Module) -> Any:
    """Return the config of a transformers model; None for other models, whose ``config`` may be anything."""
    own = getattr(model, "config", None)
    return own if hasattr(own, "to_dict") else None


def _chunked(subject: Subject, run: Run) -> Tensor:
    """Run the model through a cache, some queries at a time."""
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
    """Return the largest window or chunk size in a config, or 0."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    names = ("sliding_window", "attention_chunk_size", "local_attention")
    sizes = [getattr(text, name, None) for name in names]
    return max((size for size in sizes if isinstance(size, int)), default=0)


def in_float64_if_exact(subject: Subject) -> Subject:
    """Convert the subject to float64 if every implementation gives finite float64 outputs; rounding is then smaller.

    Many models compute the softmax in float32 for any dtype. In float32, the lowest float64 number is -inf, so that a
    row without keys becomes NaN, which happens in no dtype in practical use. Such models stay in float32.
    """
    doubled = replace(subject, model=copy.deepcopy(subject.model).double())
    inputs = plain_inputs(doubled)
    if "attention_mask" in inputs:
        inputs["attention_mask"] = (torch.arange(inputs["input_ids"].shape[1]) >= 5).long()[None]
    # Left padding of 5 gives rows without keys; the outputs of the tokens after it are checked.
    with suppress(CouldNotRunError):
        outs = [doubled.run(Run(inputs, implementation)) for implementation in doubled.implementations]
        tokens = [out if out.shape[1] == 1 else out[:, 5:] for out in outs]
        if all(out.dtype == torch.float64 and bool(torch.isfinite(out).all()) for out in tokens):
            return doubled
    return subject


def plain_inputs(subject: Subject, seed: int = 0) -> dict[str, Tensor]:
    """Make the inputs of one text without padding."""
    ids = subject.text(seed)
    inputs = {"input_ids": ids}
    if "attention_mask" in subject.takes:
        inputs["attention_mask"] = torch.ones_like(ids)
    return inputs | extra_inputs(subject, ids, torch.ones_like(ids, dtype=torch.bool))


def extra_inputs(subject: Subject, ids: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """Make the other inputs that the model needs; ``tokens`` is False at padding."""
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
    """Set all dropout rates to 0 temporarily."""
    before = disable_dropout(model)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def disable_dropout(model: nn.Module) -> list[tuple[Any, str, float]]:
    """Set all dropout rates to 0; return (owner, attribute, rate) of each."""
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
