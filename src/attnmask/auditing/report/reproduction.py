"""Write reproduction scripts: at most 20 lines that run without attnmask and print the wrong number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor

from attnmask.auditing.measure.differences import Comparison, Rows
from attnmask.auditing.recording.layer_sets import Mismatch
from attnmask.auditing.subject.audited_model import Run, Subject
from attnmask.auditing.subject.probe_inputs import PaddedBatch

LINES = 20
EQUAL = "difference of outputs that should be equal:"


def comparison_script(subject: Subject, comparison: Comparison) -> str:
    """Two runs whose outputs should be the same, and how far they differ."""
    left, right = comparison.left, comparison.right
    lines = [*subject.source, *_with_dropout_off(subject, left.train)]
    if any(isinstance(value, Mapping) for value in left.inputs.values()):
        lines += ["from transformers.modeling_outputs import BaseModelOutput"]
    lines += [f"def run(implementation, {'cuts, ' if left.chunks or right.chunks else ''}**inputs):"]
    if subject.is_transformers and (left.implementation or right.implementation):
        lines += ["    model.set_attn_implementation(implementation)"]
    lines += _call(subject, bool(left.chunks or right.chunks))
    lines += [f"a = {_run_text(left, right)}", f"b = {_run_text(right, left)}"]
    a, b = (
        _rows_text(subject, name, rows) for name, rows in (("a", comparison.left_rows), ("b", comparison.right_rows))
    )
    lines += [f"print({EQUAL!r}, ({a} - {b}).abs().max().item())"]
    return "\n".join(lines)


def _with_dropout_off(subject: Subject, train: bool) -> list[str]:
    if not train:
        return []
    return [
        "for m in model.modules():",
        "    for name, value in vars(m).items():",
        "        if 'drop' in name and isinstance(value, float) or name == 'p': setattr(m, name, 0.0)",
        "model.train()",
    ]


def _callee(subject: Subject) -> str:
    return "model" if subject.forward is None else "forward"


def _call(subject: Subject, chunked: bool) -> list[str]:
    if not chunked:
        return [f"    with torch.no_grad(): return {_callee(subject)}(**inputs){subject.pick}"]
    is_attribute, is_place = subject.pick.startswith("."), isinstance(subject.output, int)
    cache = "past_key_values" if is_attribute else "get('past_key_values')"
    return [
        "    parts, cache, n = [], None, inputs['input_ids'].shape[1]",
        "    for i, j in zip([0, *cuts], [*cuts, n]):",
        "        some = {k: v[:, :j] if k == 'attention_mask' else v[:, i:j] for k, v in inputs.items()}"
        " | {'past_key_values': cache, 'use_cache': len(cuts) > 0}",
        f"        with torch.no_grad(): out = {_callee(subject)}(**some)",
        f"        cache = out{'[1]' if is_place else f'.{cache}'}; parts.append(out{subject.pick})",
        "    return torch.cat(parts, 1)",
    ]


def _run_text(run: Run, other: Run) -> str:
    cuts = f"cuts={list(run.chunks)}, " if run.chunks or other.chunks else ""
    return f"run({run.implementation!r}, {cuts}{_arguments(run.inputs)})"


def _arguments(inputs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in inputs.items())


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({''.join(_value(one) + ', ' for one in cast(tuple[Any, ...], value))})"
    if isinstance(value, Mapping):
        return f"BaseModelOutput({_arguments(cast(Mapping[str, Any], value))})"
    if not isinstance(value, Tensor):
        return repr(value)
    text = str(cast(Any, value).tolist()).replace(" ", "")
    return f"torch.tensor({text})" if not value.is_floating_point() else f"torch.tensor({text},dtype={value.dtype})"


def _rows_text(subject: Subject, name: str, rows: Rows) -> str:
    items, places = (list(axis) for axis in zip(*rows, strict=True))
    if subject.is_pooled:
        return f"{name}[{sorted(set(items))}]"
    return f"{name}[{items[0]}, {places}]" if len(set(items)) == 1 else f"{name}[{items}, {places}]"


def gradient_script(subject: Subject, run: Run, batch: PaddedBatch) -> str:
    """The gradient at padding of the outputs of tokens."""
    lines = [*subject.source, *_switched(subject, run.implementation)]
    lines += [
        "seen = []",
        f"def keep(m, i, out): i and i[0].shape == {tuple(run.inputs['input_ids'].shape)} and i[0].dtype == torch.long"
        " and (out.retain_grad(), seen.append(out)) and None",
        "for m in model.modules(): isinstance(m, torch.nn.Embedding) and m.register_forward_hook(keep)",
        f"out = {_callee(subject)}({_arguments(run.inputs)}){subject.pick}",
        f"(out[{batch.item}] if out.shape[1] != {batch.tokens.shape[1]} else out[{batch.item}, {batch.places}])"
        ".pow(2).sum().backward()",
        "print('parameters with a gradient that is not finite:', sum("
        "not p.grad.isfinite().all() for p in model.parameters() if p.grad is not None))",
        f"print('largest gradient at padding:', seen[0].grad[{batch.item}, {batch.masked or [0]}].abs().max().item())",
    ]
    return "\n".join(lines)


def loss_script(
    subject: Subject, implementation: str, batches: Sequence[Mapping[str, Any]], counts: Sequence[int], pick: str
) -> str:
    """The loss of a padded batch beside that of its texts; ``pick`` takes it out of what the model returns."""
    lines = [*subject.source, *_switched(subject, implementation), "with torch.no_grad():"]
    for name, inputs in zip(("both", "first", "second"), batches, strict=True):
        lines += [f"    {name} = {_callee(subject)}({_arguments(inputs)}){pick}"]
    wanted = f"(first * {counts[0]} + second * {counts[1]}) / {sum(counts)}"
    return "\n".join([*lines, f"print('loss of the batch', both.item(), 'of its texts', ({wanted}).item())"])


def generation_script(
    subject: Subject,
    implementation: str,
    calls: Sequence[tuple[Mapping[str, Any], Mapping[str, Any], int]],
    tokens: int,
) -> str:
    """The scores of one continuation beside those of another: the prompt of each, its cache's options, its item."""
    options = f"max_new_tokens={tokens}, min_new_tokens={tokens}, do_sample=False"
    more = "output_logits=True, return_dict_in_generate=True"
    lines = [
        f"{name} = model.generate({_arguments(inputs)}, {options}, {_arguments(cache)}, {more}).logits"
        for name, (inputs, cache, _) in zip("ab", calls, strict=True)
    ]
    one, other = (item for _, _, item in calls)
    compared = f"[(x[{one}] - y[{other}]).abs().max().item() for x, y in zip(a, b)]"
    return "\n".join(
        [
            *subject.source,
            *_switched(subject, implementation),
            *lines,
            f"print('difference of scores by step:', {compared})",
        ]
    )


def forward_script(subject: Subject, implementation: str, inputs: Mapping[str, Any]) -> str:
    """The scores of the first token that is generated beside those of a forward pass."""
    lines = [
        *subject.source,
        *_switched(subject, implementation),
        f"inputs = dict({_arguments(inputs)})",
        "options = dict(max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True)",
        "a = model.generate(**inputs, **options).logits[0]",
        "with torch.no_grad(): b = model(**inputs).logits[:, -1]",
        "print('difference of scores that should be equal:', (a - b).abs().max().item())",
    ]
    return "\n".join(lines)


def earlier_calls_script(
    subject: Subject, implementation: str, batches: Sequence[Mapping[str, Any]], rows: Rows
) -> str:
    """The second batch after the first, and in a model that was never called."""
    lines = [
        *subject.source,
        *_switched(subject, implementation),
        "import copy; never_called = copy.deepcopy(vars(model))",
        f"def run(**inputs):\n    with torch.no_grad(): return {_callee(subject)}(**inputs){subject.pick}",
        f"first = dict({_arguments(batches[0])})",
        f"second = dict({_arguments(batches[1])})",
        "run(**first); a = run(**second)",
        "model.__dict__ = never_called; b = run(**second)",
        f"print({EQUAL!r}, ({_rows_text(subject, 'a', rows)} - {_rows_text(subject, 'b', rows)}).abs().max().item())",
    ]
    return "\n".join(lines)


def refused_script(subject: Subject, run: Run) -> str:
    """What a call raises."""
    lines = [*subject.source, *_switched(subject, run.implementation)]
    lines += [f"try: {_callee(subject)}({_arguments(run.inputs)})", "except RuntimeError as error: print(error)"]
    return "\n".join(lines)


def unreached_script(subject: Subject, comparison: Comparison) -> str:
    """As ``comparison_script``, where the outputs should differ."""
    return comparison_script(subject, comparison).replace("that should be equal", "that should differ")


def layer_script(subject: Subject, run: Run, wrong: Mismatch) -> str:
    """The keys that a layer gives weight to, at a row where they are not the declared ones."""
    b, h, q, _ = wrong.first
    declared = wrong.expected.to("dense")
    keys = declared[min(b, len(declared) - 1), 0, q].nonzero()[0].tolist()
    row = f"w.reshape({len(run.inputs['input_ids'])}, -1, *w.shape[-2:])[{b}, {h}, {q}]"
    is_it, weights = SEEN_AS.get("masked behind" if wrong.masked_after_softmax else wrong.how, SEEN_AS["softmax"])
    lines = [
        *subject.source,
        *_switched(subject, run.implementation),
        "import torch.nn.functional as F; from torch.overrides import TorchFunctionMode",
        f"inside, seen, layer = [], [], model.get_submodule({wrong.layer!r})",
        "layer.register_forward_pre_hook(lambda *a: inside.append(1))",
        "layer.register_forward_hook(lambda *a: inside.clear())",
        "class See(TorchFunctionMode):",
        "    def __torch_function__(self, f, types, args=(), kwargs=None):",
        "        kwargs = kwargs or {}; out = f(*args, **kwargs)",
        f"        if inside and {is_it}: w = {weights}; seen.append(out); "
        f"print('query {q} should attend to {keys}, attends to', {row}.nonzero()[:, 0].tolist())",
        "        return out",
        f"with See(), torch.no_grad(): {_callee(subject)}({_arguments(run.inputs)})",
    ]
    return "\n".join(lines)


FOLLOWS = "f.__name__ != 'matmul' and any(a is seen[-1] for a in args if seen) and out.shape == seen[-1].shape"
# Of each way to attend: how a script knows its call, and where it gets the weights. A kernel gives them for a value
# that is the identity.
SEEN_AS = {
    "softmax": ("f.__name__ == 'softmax'", "out"),
    "masked behind": (f"(f.__name__ == 'softmax' or {FOLLOWS})", "out"),
    "sdpa": (
        "f is F.scaled_dot_product_attention",
        "f(*args[:2], torch.eye(args[1].shape[-2]).to(args[1]).expand(*args[1].shape[:-1], -1), *args[3:], **kwargs)",
    ),
    "MultiheadAttention": (
        "f is F.multi_head_attention_forward",
        "f(*args, **kwargs | {'need_weights': True, 'average_attn_weights': False})[1]",
    ),
}


def _switched(subject: Subject, implementation: str) -> list[str]:
    return [f"model.set_attn_implementation({implementation!r})"] if implementation and subject.is_transformers else []
