"""Audit a data collator: its mask, labels and positions must agree on which positions are tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from attnmask.auditing.data.collated_batches import ALL_LABELLED_SHARE, CollatedBatch
from attnmask.auditing.global_state import global_state_restored
from attnmask.auditing.report.audit_report import Report
from attnmask.auditing.report.verdict import Finding, Verdict
from attnmask.calls import public
from attnmask.conventions import BoolArray, IntArray
from attnmask.errors import ArgumentError
from attnmask.hf.packing.labels import IGNORED
from attnmask.mask.arguments import ids_per_position, position_count, shown

WHERE = "audit_collator(collator)"
LENGTHS = (9, 4, 7)
FIRST_ID = 10
BY_EOS = "padding is recognised by its id, and the pad id is also the id of the end of text"
SHIFTED = "they are shifted by one already, and models of transformers shift them again"
MASKED = "models of transformers look for borders in the positions only where there is no attention_mask"
BORDERS = ("cu_seq_lens_q", "cu_seqlens")
WEIGHTS = ("weights", "loss_mask", "loss_weights")
Collator = Callable[[list[dict[str, Any]]], Mapping[str, Any]]


@public
def audit_collator(
    collator: Collator,
    *,
    pad: int,
    eos: int | None = None,
    examples: Sequence[Mapping[str, Any]] | None = None,
) -> Report:
    """Audit whether a data collator separates tokens from padding, and the documents of a row from each other.

    The collator gets three texts, which are then searched for in the batch that it returns. The batch itself shows
    whether texts are padded or packed.

    Args:
        collator: function from a list of examples to a batch with ``input_ids`` (B, T), and optionally attention_mask,
            labels (B, T), position_ids, cu_seq_lens_q and weights.
        pad: pad id. eos: id that ends every text, if there is one.
        examples: dicts with ``input_ids``, for a collator that needs other fields too; three texts of 9, 4 and 7 tokens
            if left out.

    Returns:
        A Report: ``report.bugs``, ``report.exit_code``, ``print(report)``.

    Raises:
        ArgumentError: the collator raises, or its batch has no input_ids.

    Source: transformers' DataCollatorForLanguageModeling, which recognises padding by its id.

    >>> def careless(examples):
    ...     longest = max(len(example["input_ids"]) for example in examples)
    ...     ids = [example["input_ids"] + [0] * (longest - len(example["input_ids"])) for example in examples]
    ...     return {"input_ids": ids, "attention_mask": [[1] * longest] * 3, "labels": ids}
    >>> for bug in audit_collator(careless, pad=0).bugs:
    ...     print(bug.probe, "-", bug.what)
    mask of a batch - the mask is 1 at padding
    labels at padding - padding has labels
    """
    _check_arguments(collator, pad, eos, examples)
    started = time.perf_counter()
    given = [dict(example) for example in examples] if examples is not None else _texts(eos)
    texts = [np.asarray(example["input_ids"], dtype=np.int64) for example in given]
    with global_state_restored():
        collated = CollatedBatch(_call_collator(collator, given), texts, pad, eos)
    findings = [_tokens(collated)]
    if findings[0].verdict is Verdict.OK:  # the other checks need all texts to be whole
        findings += [finding for check in CHECKS for finding in check(collated)]
    shown = tuple(_with_script(finding, given, collated) for finding in findings)
    name = getattr(collator, "__name__", type(collator).__name__)
    return Report(name, shown, time.perf_counter() - started)


def _check_arguments(collator: Any, pad: Any, eos: Any, examples: Any) -> None:
    if not callable(collator):
        raise ArgumentError(f"collator is {shown(collator)}", where=WHERE, fix="give a function of a list of examples")
    position_count(pad, "pad", "audit_collator(pad=)")
    if eos is not None:
        position_count(eos, "eos", "audit_collator(eos=)")
    if examples is None:
        return
    fix = "give a list of dicts with input_ids, lists of whole numbers"
    if not isinstance(examples, list | tuple) or not examples:
        raise ArgumentError(f"examples is {shown(examples)}", where="audit_collator(examples=)", fix=fix)
    for number, example in enumerate(cast(list[Any], examples)):
        where = f"audit_collator(examples=)[{number}]"
        if not isinstance(example, Mapping) or "input_ids" not in example:
            raise ArgumentError(f"it is {shown(example)}", where=where, fix=fix)
        ids_per_position(example["input_ids"], "input_ids", where)


def _texts(eos: int | None) -> list[dict[str, Any]]:
    """Make texts that have no token in common except the last one, if it is eos."""
    starts = [FIRST_ID + sum(LENGTHS[:i]) for i in range(len(LENGTHS))]
    ids = [list(range(start, start + length)) for start, length in zip(starts, LENGTHS, strict=True)]
    return [{"input_ids": text if eos is None else [*text[:-1], eos]} for text in ids]


def _call_collator(collator: Collator, examples: list[dict[str, Any]]) -> Mapping[str, Any]:
    try:
        batch = collator([dict(example) for example in examples])
    except Exception as error:  # a user's collator may raise anything
        raise ArgumentError(
            f"the collator raises {type(error).__name__}: {error}",
            where=WHERE,
            fix="give examples= with the fields that it needs",
        ) from error
    if not isinstance(batch, Mapping) or "input_ids" not in batch:
        raise ArgumentError(f"its batch is {shown(batch)}", where=WHERE, fix="return input_ids")
    return batch


def _with_script(finding: Finding, examples: list[dict[str, Any]], collated: CollatedBatch) -> Finding:
    """Complete the script of a bug: the findings hold only the expression to print."""
    if finding.verdict is not Verdict.BUG:
        return finding
    plain = [{name: np.asarray(value).tolist() for name, value in example.items()} for example in examples]
    lines = [
        "import torch",
        "collator = ...  # the collator that was audited",
        f"batch = collator({plain})",
        f"texts = torch.tensor({collated.original.tolist()})",
        f"tokens = torch.tensor({collated.tokens.astype(int).tolist()}).bool()",
        "def rows(name): return torch.atleast_2d(torch.as_tensor(batch[name]))",
        f"print({finding.what!r}, {finding.script})",
    ]
    return replace(finding, script="\n".join(lines))


def _tokens(collated: CollatedBatch) -> Finding:
    lost = set(range(len(collated.texts))) - {place.text for place in collated.places}
    return _judged("tokens of a batch", "texts that are not whole in the batch", len(lost), "rows('input_ids')")


def _mask(collated: CollatedBatch) -> Iterator[Finding]:
    name, given = "mask of a batch", collated.batch.get("attention_mask")
    if collated.mask is not None:
        at_padding, missing = collated.mask & ~collated.tokens, ~collated.mask & collated.tokens
        shows = "(rows('attention_mask') != 0)[~tokens].sum()"
        yield _judged(name, "the mask is 1 at padding", int(at_padding.sum()), shows)
        shows = "(rows('attention_mask') == 0)[tokens].sum()"
        yield _judged(
            name, "the mask is 0 at tokens", int(missing.sum()), shows, _cause_if_eos_is_pad(collated, missing)
        )
    elif given is None and not collated.tokens.all():
        yield _judged(name, "rows are padded, and there is no mask", int((~collated.tokens).sum()), "sorted(batch)")
    else:
        yield Finding(name, Verdict.NOT_APPLICABLE, "nothing is padded" if given is None else "it has other axes")


def _labels(collated: CollatedBatch) -> Iterator[Finding]:
    names = ("labels at padding", "labels of tokens", "labels across documents")
    if collated.labels is None:
        yield from (Finding(name, Verdict.NOT_APPLICABLE, "there are no labels of tokens") for name in names)
        return
    has = collated.labels != IGNORED
    shows = "(rows('labels') != -100)[~tokens].sum()"
    yield _judged(names[0], "padding has labels", int((has & ~collated.tokens).sum()), shows)
    yield from _labels_of_tokens(collated, collated.labels, names[1])
    later = [(place.row, place.start) for place in collated.later_in_row]
    if not (later and collated.labels_every_token):
        yield Finding(names[2], Verdict.NOT_APPLICABLE, "no row holds two texts whose tokens all have labels")
        return
    crossing = sum(bool(has[at]) for at in later)
    shows = f"sum(int(rows('labels')[at] != -100) for at in {later})"
    yield _judged(names[2], "first tokens are asked of the document before", crossing, shows)


def _labels_of_tokens(collated: CollatedBatch, labels: IntArray, name: str) -> Iterator[Finding]:
    has = (labels != IGNORED) & collated.tokens
    wrong = has & (labels != collated.original)
    following = np.roll(collated.original, -1, axis=1)
    shifted = wrong.any() and bool((labels[wrong] == following[wrong]).mean() > ALL_LABELLED_SHARE)
    shows = "((rows('labels') != -100) & tokens & (rows('labels') != texts)).sum()"
    yield _judged(name, "labels that are not the text's tokens", int(wrong.sum()), shows, SHIFTED if shifted else "")
    if collated.eos is not None and collated.labels_every_token:
        ends = collated.tokens & (collated.original == collated.eos) & ~has
        shows = f"(rows('labels')[tokens & (texts == {collated.eos})] == -100).sum()"
        yield _judged(
            name, "ends of text that are never learned", int(ends.sum()), shows, _cause_if_eos_is_pad(collated, ends)
        )


def _documents(collated: CollatedBatch) -> Iterator[Finding]:
    """Check what separates the texts of a row: their borders, positions, or a mask of more than two axes."""
    name, mask = "documents of a row", collated.batch.get("attention_mask")
    together = len(collated.later_in_row)
    if not together:
        yield Finding(name, Verdict.NOT_APPLICABLE, "no row holds two texts")
        return
    borders = next((key for key in BORDERS if key in collated.batch), None)
    if borders is not None:
        wrong = set(np.asarray(collated.batch[borders]).reshape(-1).tolist()) ^ collated.borders
        yield _judged(name, "borders that are not those of the texts", len(wrong), f"batch[{borders!r}]")
    if collated.positions is not None:
        what = "texts whose positions do not count from their own beginning"
        yield _judged(name, what, collated.wrong_positions, "rows('position_ids')")
    if borders is not None or hasattr(mask, "documents") or (mask is not None and np.ndim(mask) > 2):
        return
    if collated.positions is None:
        yield _judged(name, "texts of a row that nothing tells apart from the one before", together, "sorted(batch)")
    elif mask is not None:
        yield _judged(name, "texts of a row that positions alone tell apart", together, "sorted(batch)", MASKED)


def _weights(collated: CollatedBatch) -> Iterator[Finding]:
    known = {key: np.asarray(collated.batch[key]) for key in WEIGHTS if key in collated.batch}
    found = next((key for key, weights in known.items() if weights.shape == collated.ids.shape), None)
    if found is None:
        yield Finding("weights at padding", Verdict.NOT_APPLICABLE, "there are no weights of tokens")
        return
    weighted = (known[found] != 0) & ~collated.tokens
    shows = f"(rows({found!r}) != 0)[~tokens].sum()"
    yield _judged("weights at padding", "padding has weights", int(weighted.sum()), shows)


def _cause_if_eos_is_pad(collated: CollatedBatch, at: BoolArray) -> str:
    told_by_id = collated.eos == collated.pad and bool((collated.original[at] == collated.eos).all())
    return BY_EOS if told_by_id else ""


def _judged(probe: str, what: str, count: int, shows: str, cause: str = "") -> Finding:
    verdict = Verdict.BUG if count else Verdict.OK
    return Finding(probe, verdict, what, number=float(count), threshold=0.0, cause=cause, script=shows if count else "")


CHECKS: tuple[Callable[[CollatedBatch], Iterator[Finding]], ...] = (_mask, _labels, _documents, _weights)
