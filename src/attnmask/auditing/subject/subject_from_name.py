"""Build a Subject from a model, a folder, a model type of transformers, or ``module:factory``."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from attnmask.auditing.expected.declared_masks import is_causal, layers_of_config
from attnmask.auditing.global_state import one_thread_if_tiny
from attnmask.auditing.measure.influence import influences
from attnmask.auditing.recording.layer_sets import record_calls
from attnmask.auditing.subject.absolute_positions import embedding_tables
from attnmask.auditing.subject.audited_model import (
    ModelKind,
    Run,
    Subject,
    in_float64_if_exact,
    plain_inputs,
    transformers_config,
)
from attnmask.auditing.subject.model_factories import model_from_factory
from attnmask.auditing.subject.model_outputs import access_code, output_name
from attnmask.auditing.subject.redrawn_weights import GAIN, REDRAW_LINES, redraw
from attnmask.errors import ArgumentError
from attnmask.mask.expression import Mask

IMPLEMENTATIONS = ("eager", "sdpa", "attnmask")
WHERE = "audit(model=)"
# A relative change of an earlier output by more than this is not rounding.
MIN_CHANGE = 1e-3
# If no attention call can be recorded, the number of layers is unknown: assume many.
ASSUMED_LAYERS = 64
# With fewer ordinary ids than this, use all ids of the vocabulary that are not special.
MIN_IDS = 8
# Any id but that of padding: some decoders mask their pad id.
DECODER_START = 5
MODES = {
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "base": "AutoModel",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "classification": "AutoModelForSequenceClassification",
}


def subject_from_model(
    model: Any,
    mask: Mask | Sequence[Mask] | None = None,
    forward: Callable[..., Any] | None = None,
    source: Sequence[str] = (),
    redraw_weights: bool = False,
) -> Subject:
    """Build the subject of an audit from a model: a copy in evaluation mode.

    Args:
        model: nn.Module. mask: the declared mask, for all layers or one per layer; by default that of the transformers
            config. forward: function to call instead of the model. source: lines of a script that make the model.
        redraw_weights: whether to draw the weights anew.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"{type(model).__name__} is no torch module", where=WHERE, fix="give an nn.Module")
    original, model = model, copy.deepcopy(model).eval()
    if redraw_weights:
        redraw(model)
    config = transformers_config(model)
    kind = _kind(model, config, mask)
    subject = Subject(
        name=type(model).__name__,
        model=model,
        layers=[mask] if isinstance(mask, Mask) else mask,
        kind=kind or ModelKind.BIDIRECTIONAL,
        source=tuple(_source_lines(source, forward is not None, redraw_weights)),
        tokens=_plain_tokens(model, config),
        pad=_pad(config),
        first=_first_position(model),
        forward=forward,
        original=original,
    )
    if not subject.is_transformers and "decoder_input_ids" in subject.takes:
        subject.kind = ModelKind.ENCODER_DECODER
    with one_thread_if_tiny(model):
        _choose_output(subject)
        if kind is None and subject.kind is not ModelKind.ENCODER_DECODER:
            subject.kind = _measured_kind(subject)
        subject.layers = _layers(subject, mask)
        subject.implementations = _implementations(subject)
        subject = in_float64_if_exact(subject)
    if next(subject.model.parameters(), torch.zeros(())).dtype == torch.float64:
        subject.source = (*subject.source, "model.double()")
    return subject


def _source_lines(source: Sequence[str], has_forward: bool, redrawn: bool) -> Iterator[str]:
    """Yield the lines of a script that make the model and the function that calls it."""
    yield from source or ("import torch", "model = ...  # the model that was audited, in evaluation mode")
    if has_forward:
        yield "forward = ...  # how it was called, with that model"
    if redrawn:
        yield from (line.format(gain=GAIN) for line in REDRAW_LINES)


def _choose_output(subject: Subject) -> None:
    """Choose the part of the model's output that is compared."""
    found = _plain_output(subject)
    try:
        subject.output = output_name(found)
    except TypeError as error:
        fix = "give forward=, a function of input_ids and attention_mask that returns the outputs of the tokens"
        raise ArgumentError(f"nothing can be compared: {error}", where=WHERE, fix=fix) from None
    subject.pick = access_code(found, subject.output)


def _plain_output(subject: Subject) -> Any:
    """Call the model on a text without padding; the error says what the user can do."""
    plain = plain_inputs(subject)
    try:
        with torch.no_grad():
            return subject.call(plain)
    except Exception as error:  # a model's code may raise anything
        fix = (
            "wrap it in a module that takes input_ids and attention_mask; or from Python give audit(forward=), "
            "a function of them that calls it as it is called in use"
        )
        if "attention_mask" in plain and _runs_on(subject, plain | {"attention_mask": 0 * plain["attention_mask"]}):
            fix = "with a mask of zeros it runs: is its mask inverted, so that ones are padding?"
        raise ArgumentError(
            f"the model raises on a text of {subject.length} tokens without padding: {type(error).__name__}: {error}",
            where=WHERE,
            fix=fix,
        ) from error


def _runs_on(subject: Subject, inputs: dict[str, Any]) -> bool:
    with suppress(Exception), torch.no_grad():
        subject.call(inputs)
        return True
    return False


def subject_from_type(model_type: str, mode: str = "", mask: Mask | Sequence[Mask] | None = None) -> Subject:
    """Build a tiny model of a transformers architecture with large random weights.

    Args:
        model_type: such as "llama". mode: one of ``MODES``; the first that the architecture has if left out.
        mask: used instead of the mask that the config declares.

    Raises:
        ArgumentError: an unknown architecture, or one without that mode.
    """
    import transformers

    from attnmask.hf.models.tiny_models import tiny_config

    modes = available_modes(model_type)
    if not modes:
        fix = "give one such as llama or bert, the folder of a saved model, or module:function"
        raise ArgumentError(f"transformers has no model type {model_type!r}", where=WHERE, fix=fix)
    mode = mode or modes[0]
    if mode not in modes:
        raise ArgumentError(f"{model_type} has no mode {mode!r}", where=WHERE, fix=f"it has {', '.join(modes)}")
    config = tiny_config(model_type)
    if mode == "causal" and getattr(config, "is_decoder", None) is False:
        config.is_decoder = True
    if mode == "causal" and hasattr(config, "add_cross_attention"):
        config.add_cross_attention = True
    if mode == "seq2seq" and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = DECODER_START
    if mode == "seq2seq" and getattr(getattr(config, "decoder", None), "is_decoder", None) is False:
        config.decoder.is_decoder = config.decoder.add_cross_attention = True
    if mode == "classification":
        config.pad_token_id = _pad(config)
    torch.manual_seed(0)
    auto: Any = getattr(transformers, MODES[mode])
    with quiet():
        try:
            model = auto.from_config(config, attn_implementation="eager")
        except NotImplementedError:  # the architecture has no cross-attention
            config.add_cross_attention = False
            model = auto.from_config(config, attn_implementation="eager")
        subject = subject_from_model(
            model, mask, source=_lines_of_type(model_type, config, MODES[mode]), redraw_weights=True
        )
    subject.name = f"{model_type} ({mode})"
    return subject


def available_modes(model_type: str) -> list[str]:
    """Return the modes in which transformers has a model of an architecture."""
    from transformers.models.auto import modeling_auto as auto

    tables: dict[str, Any] = {
        "causal": auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "masked": auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        "seq2seq": auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        "classification": auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        "base": auto.MODEL_MAPPING_NAMES,
    }
    return [mode for mode, table in tables.items() if model_type in table]


def subject_from_folder(
    folder: str, mode: str = "", mask: Mask | Sequence[Mask] | None = None, redraw_weights: bool = False
) -> Subject:
    """Load a model that ``save_pretrained`` wrote, by the class that was saved or the class of a mode."""
    import transformers

    if mode not in ("", *MODES):
        raise ArgumentError(f"there is no mode {mode!r}", where="audit(mode=)", fix=f"give {', '.join(MODES)}")
    try:
        config: Any = cast(Any, transformers.AutoConfig).from_pretrained(folder)
    except (OSError, ValueError) as error:
        fix = "give a folder that save_pretrained wrote"
        raise ArgumentError(f"the folder holds no model: {_first_line(error)}", where=folder, fix=fix) from error
    names = [MODES[mode]] if mode else getattr(config, "architectures", None) or ["AutoModel"]
    kind: Any = getattr(transformers, names[0], transformers.AutoModel)
    lines = (
        "import torch, transformers",
        f"model = transformers.{kind.__name__}.from_pretrained({folder!r}).eval()",
    )
    with quiet():
        return subject_from_model(kind.from_pretrained(folder), mask, source=lines, redraw_weights=redraw_weights)


def subject_from_factory(text: str, mask: Mask | Sequence[Mask] | None = None, redraw_weights: bool = False) -> Subject:
    """Build the subject from the model that ``package.module:function`` returns."""
    model, lines = model_from_factory(text)
    return subject_from_model(model, mask, source=lines, redraw_weights=redraw_weights)


def subject_from_text(
    text: str, mode: str = "", mask: Mask | Sequence[Mask] | None = None, redraw_weights: bool = False
) -> Subject:
    """Build the subject from the name of a folder, ``module:factory`` or a model type."""
    if _is_folder(text):
        return subject_from_folder(text, mode, mask, redraw_weights)
    if "/" in text:
        raise ArgumentError("there is no such folder", where=text, fix="give one that save_pretrained wrote")
    if ":" not in text:
        return subject_from_type(text, mode, mask)
    if mode:
        raise ArgumentError(f"{text} makes one model", where="audit(mode=)", fix="leave the mode out")
    return subject_from_factory(text, mask, redraw_weights)


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):  # for example a null character in the name
        return False


@contextmanager
def quiet() -> Generator[None]:
    """Silence the warnings and logging of transformers, which are not part of an audit."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _lines_of_type(model_type: str, config: Any, auto: str) -> list[str]:
    changed = {
        name: value
        for name, value in config.to_diff_dict().items()
        if name not in ("transformers_version", "model_type", "architectures", "_attn_implementation", "dtype")
    }
    return [
        f"import torch; from transformers import AutoConfig, {auto}",
        "torch.manual_seed(0)",
        f"config = AutoConfig.for_model({model_type!r}, **{changed!r})",
        f"model = {auto}.from_config(config, attn_implementation='eager').eval()",
    ]


def _kind(model: nn.Module, config: Any, mask: Mask | Sequence[Mask] | None) -> ModelKind | None:
    """Return the kind by the declared mask or by transformers' tables of models; None if neither decides."""
    if getattr(config, "is_encoder_decoder", False):
        return ModelKind.ENCODER_DECODER
    if mask is not None:
        masks = [mask] if isinstance(mask, Mask) else mask
        return ModelKind.CAUSAL if all(map(is_causal, masks)) else ModelKind.BIDIRECTIONAL
    if config is None:
        return None
    from transformers.models.auto import modeling_auto as auto

    name, own = type(model).__name__, getattr(config, "model_type", "")
    decoders = auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if getattr(config, "is_decoder", False):
        return ModelKind.CAUSAL
    if own in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES or getattr(config, "attn_type", "") == "bi":
        return ModelKind.BIDIRECTIONAL
    return ModelKind.CAUSAL if own in decoders or name in decoders.values() else None


def _measured_kind(subject: Subject) -> ModelKind:
    """Measure whether any token changes an earlier output; a pooled model counts as bidirectional."""
    changes = np.triu(influences(subject, ""), 1) if not subject.is_pooled else np.ones(1)
    return ModelKind.BIDIRECTIONAL if bool((changes > MIN_CHANGE).any()) else ModelKind.CAUSAL


def _layers(subject: Subject, mask: Mask | Sequence[Mask] | None) -> Sequence[Mask | None] | None:
    if isinstance(mask, Mask):
        # One mask per layer: the reach through all layers depends on their number.
        return [mask] * (len(record_calls(subject, Run(plain_inputs(subject)))) or ASSUMED_LAYERS)
    if mask is not None:
        return list(mask)
    if subject.config is None or subject.kind is ModelKind.ENCODER_DECODER:
        return None
    return layers_of_config(subject.config, subject.kind is ModelKind.CAUSAL)


def _plain_tokens(model: nn.Module, config: Any) -> Tensor:
    """Return ids of the vocabulary that the config does not use as special tokens."""
    try:
        own = cast(Any, model).get_input_embeddings()
    except (AttributeError, NotImplementedError):
        own = next((table for _, table in embedding_tables(model)), None)
    size = getattr(own, "num_embeddings", 100)
    special = set(_special_ids(config.to_dict() if config is not None else {}))
    ids = [i for i in range(5, size) if i not in special]
    if len(ids) < MIN_IDS:  # a vocabulary of letters or of DNA bases
        ids = [i for i in range(size) if i not in special and i != _pad(config)]
    if len(ids) < 2:
        raise ArgumentError(f"its vocabulary is of {size} ids", where=WHERE, fix="give a model of two tokens at least")
    return torch.tensor(ids[:2000])


def _special_ids(values: Any) -> list[int]:
    found: list[int] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _special_ids(value)
        elif isinstance(name, str) and ("token" in name or name.endswith("_id")):
            several = cast(list[Any], value) if isinstance(value, list) else [value]
            found += [v for v in several if isinstance(v, int) and not isinstance(v, bool)]
    return found


def _pad(config: Any) -> int:
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    value = getattr(text, "pad_token_id", None)
    return value if isinstance(value, int) and value >= 0 else 0


def _first_position(model: nn.Module) -> int:
    """Return the first position: after the padding row, if a table of positions has one."""
    for name, module in embedding_tables(model):
        if "position" in name and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


def _implementations(subject: Subject) -> tuple[str, ...]:
    if not subject.is_transformers:
        return ("",)
    model: Any = subject.model
    try:
        can_set = model._can_set_attn_implementation()
    except Exception:  # older releases of transformers search the source of the model's file, and may fail
        can_set = False
    if not can_set:
        return ("",)
    try:
        from attnmask.hf.implementation.registration import register
    except ImportError:  # attn_implementation="attnmask" needs a newer release of transformers
        pass
    else:
        register()
    own = model.config._attn_implementation
    return tuple(name for name in IMPLEMENTATIONS if _runs(subject, name, own)) or ("",)


def _runs(subject: Subject, implementation: str, own: str) -> bool:
    try:
        with quiet():
            subject.model.set_attn_implementation(implementation)  # pyright: ignore
            subject.run(Run(plain_inputs(subject)))
    except Exception:  # unsupported implementations raise many types of errors
        subject.model.set_attn_implementation(own)  # pyright: ignore
        return False
    return True
