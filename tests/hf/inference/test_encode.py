"""Encoding without padding gives each text what it gets alone, in the order in which the texts came."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

import attnmask as am
from attnmask.errors import ArgumentError
from examples.stdlib_docstrings import stdlib_docstrings
from tests.hf.small_models import DECODERS, ENCODERS, SCORED, tiny
from tests.hf.trained_models import byte_level

TOLERANCE = 3e-6
TEXTS = [
    "An attention mask is a set of pairs.",
    "Short.",
    "A much longer text, about padding, packed documents, windows and everything else that makes rows of tokens "
    "differ in length from each other, so that it is more than the window and more than the budget too.",
    "Short.",
    "Which tokens does a token see?",
    "x",
    "Which tokens does a token hear?",
    "日本語の文 and naïve café",
    "An attention mask is a set of pairs.",
]


def alone(model: Any, tokenizer: Any, text: str, how: str = "mean", max_length: int = 64) -> np.ndarray:
    """What the plain model under eager attention makes of one text."""
    model.set_attn_implementation("eager")
    inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=max_length)
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state[0]
    return {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[how].numpy()


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("name", [*DECODERS, *SCORED])
def test_a_decoder_encodes_each_text_as_alone(name: str, minilm: Any) -> None:
    model, tokenizer = tiny(name), minilm[1]
    expected = np.stack([alone(model, tokenizer, text, "last") for text in TEXTS])
    for budget in (1, 60):
        vectors = am.hf.encode(model, tokenizer, TEXTS, "last", 64, token_budget=budget)
        # Eager attention of these takes the softmax in float32, and their norms amplify what it rounds.
        assert relative(vectors, expected) < 10 * TOLERANCE, budget


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("how", ["mean", "cls", "last"])
def test_each_text_gets_what_it_gets_alone(name: str, how: str, minilm: Any) -> None:
    model, tokenizer = tiny(name), minilm[1]
    expected = np.stack([alone(model, tokenizer, text, how) for text in TEXTS])
    for order in ("sorted", "keep"):
        for budget in (1, 30, 4096):
            vectors = am.hf.encode(model, tokenizer, TEXTS, how, token_budget=budget, batch_order=order)
            assert vectors.dtype == np.float32
            assert relative(vectors, expected) < TOLERANCE, (order, budget)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_neighbour_that_is_seen_would_be_noticed(name: str, minilm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny(name), minilm[1]
    expected = np.stack([alone(model, tokenizer, text) for text in TEXTS])
    monkeypatch.setattr("attnmask.hf.inference.encoding.documents", lambda lengths: am.full())
    assert relative(am.hf.encode(model, tokenizer, TEXTS), expected) > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_texts_does_not_matter(seed: int, minilm: Any) -> None:
    model, tokenizer = tiny("modernbert"), minilm[1]
    order = np.random.default_rng(seed).permutation(len(TEXTS))
    straight = am.hf.encode(model, tokenizer, TEXTS)
    shuffled = am.hf.encode(model, tokenizer, [TEXTS[i] for i in order], token_budget=40)
    assert relative(shuffled, straight[order]) < TOLERANCE


def test_the_real_minilm(minilm: Any) -> None:
    texts = [each.text for each in stdlib_docstrings()[::360]]
    model, tokenizer = minilm
    with pytest.warns(am.hf.TruncationWarning):
        vectors = am.hf.encode(model, tokenizer, texts, "mean", max_length=100, token_budget=512)
    expected = np.stack([alone(model, tokenizer, text, max_length=100) for text in texts])
    assert np.abs(vectors - expected).max() < 2e-6


def test_a_pad_token_that_is_written_in_a_text_is_read_as_the_model_reads_it() -> None:
    texts = ["a mask", "the <pad> mask <pad><pad> of", "<pad>", "mask of mask"]
    tokenizer = byte_level()
    for name in ("roberta", "mpnet", "camembert"):
        model = tiny(name)
        model.set_attn_implementation("eager")
        with torch.inference_mode():
            states = [model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0] for text in texts]
        expected = torch.stack([each.mean(0) for each in states]).numpy()
        assert relative(am.hf.encode(model, tokenizer, texts), expected) < TOLERANCE


def test_token_types_are_those_of_the_tokenizer(minilm: Any) -> None:
    class Second:
        def __init__(self, tokenizer: Any) -> None:
            self.tokenizer = tokenizer

        def __getattr__(self, name: str) -> Any:
            return getattr(self.tokenizer, name)

        def __len__(self) -> int:
            return len(self.tokenizer)

        def __call__(self, texts: Any, **options: Any) -> Any:
            encoded = self.tokenizer(texts, **options)
            encoded["token_type_ids"] = [[i % 2 for i in range(len(ids))] for ids in encoded["input_ids"]]
            return encoded

    model = tiny("bert")
    ids = torch.tensor([minilm[1](TEXTS[0])["input_ids"]])
    with torch.inference_mode():
        states = model(ids, token_type_ids=torch.arange(ids.shape[1])[None] % 2).last_hidden_state[0]
    vectors = am.hf.encode(model, Second(minilm[1]), TEXTS[:2])  # type: ignore
    assert relative(vectors[0], states.mean(0).numpy()) < TOLERANCE


def test_a_model_with_a_head_is_run_without_it(minilm: Any) -> None:
    torch.manual_seed(0)
    model = tf.BertForMaskedLM(tiny("bert").config).eval()
    vectors = am.hf.encode(model, minilm[1], TEXTS)
    assert relative(vectors, am.hf.encode(model.bert, minilm[1], TEXTS)) == 0


def test_no_texts_are_no_rows(minilm: Any) -> None:
    assert am.hf.encode(tiny("distilbert"), minilm[1], []).shape == (0, 32)


def test_progress_counts_texts_up_to_all(minilm: Any) -> None:
    calls: list[tuple[int, int]] = []
    am.hf.encode(tiny("bert"), minilm[1], TEXTS, token_budget=30, progress=lambda *call: calls.append(call))
    assert [total for _, total in calls] == [len(TEXTS)] * len(calls)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert calls[-1][0] == len(TEXTS)
    assert len(calls) > 3


def test_what_is_cut_is_counted_and_named(minilm: Any) -> None:
    model, tokenizer = tiny("bert"), minilm[1]
    message = r"3 of 9 texts were cut at 10 tokens, the first is texts\[0\]"
    with pytest.warns(am.hf.TruncationWarning, match=message) as caught:
        vectors = am.hf.encode(model, tokenizer, TEXTS, max_length=10)
    warning: Any = caught[0].message
    assert (warning.count, warning.first, warning.max_length, caught[0].filename) == (3, 0, 10, __file__)
    expected = np.stack([alone(model, tokenizer, text, max_length=10) for text in TEXTS])
    assert relative(vectors, expected) < TOLERANCE


@pytest.mark.parametrize(("name", "most"), [("bert", 64), ("roberta", 64), ("mpnet", 64), ("modernbert", 64)])
def test_without_a_limit_texts_are_cut_where_positions_end(name: str, most: int, minilm: Any) -> None:
    model, text = tiny(name), "mask " * 100
    with pytest.warns(am.hf.TruncationWarning, match=f"cut at {most} tokens"):
        vectors = am.hf.encode(model, minilm[1], [text])
    assert relative(vectors[0], alone(model, minilm[1], text, max_length=most)) < TOLERANCE
    with pytest.raises(ArgumentError, match=f"max_length is {most + 1}"):
        am.hf.encode(model, minilm[1], [text], max_length=most + 1)


class TestWeights:
    """On the real MiniLM a weight is what the plain eager model makes of repeated or removed tokens."""

    TEXT = "Padding is no token, and an attention mask says so."
    OTHERS = ("A text about masks.", "Nothing of that kind here, only words and words.")

    def encoded(self, minilm: Any, weight: float, how: str = "mean", word: str = "attention mask") -> np.ndarray:
        texts = [self.OTHERS[0], self.TEXT, self.OTHERS[1]]
        return am.hf.encode(*minilm, texts, how, token_weights={word: weight})

    def plain(self, minilm: Any, copies: int, how: str = "mean") -> np.ndarray:
        """The model on the tokens of the text, those of "attention mask" so many times, positions kept."""
        model, tokenizer = minilm
        ids = tokenizer(self.TEXT)["input_ids"]
        words = set(tokenizer("attention mask", add_special_tokens=False)["input_ids"])
        places = [i for i, token in enumerate(ids) for _ in range(copies if token in words else 1)]
        model.set_attn_implementation("eager")
        with torch.inference_mode():
            given = {"input_ids": torch.tensor(ids)[None, places], "position_ids": torch.tensor(places)[None]}
            states = model(**given, token_type_ids=torch.zeros(1, len(places), dtype=torch.long)).last_hidden_state[0]
        return (states.mean(0) if how == "mean" else states[0]).numpy()

    @pytest.mark.parametrize("how", ["mean", "cls"])
    @pytest.mark.parametrize("weight", [0, 1, 2, 3])
    def test_a_weight_is_a_number_of_copies(self, minilm: Any, weight: int, how: str) -> None:
        ours = self.encoded(minilm, weight, how)[1]
        assert np.abs(ours - self.plain(minilm, weight, how)).max() < 2e-6
        if weight != 1:
            assert np.abs(ours - self.plain(minilm, 1, how)).max() > 1e-2

    def test_1_changes_nothing(self, minilm: Any) -> None:
        unweighted = am.hf.encode(*minilm, [self.OTHERS[0], self.TEXT, self.OTHERS[1]], "mean")
        assert (self.encoded(minilm, 1.0) == unweighted).all()

    def test_texts_without_the_word_stay_as_they_are(self, minilm: Any) -> None:
        unweighted = am.hf.encode(*minilm, list(self.OTHERS), "mean")
        assert np.abs(self.encoded(minilm, 5.0)[[0, 2]] - unweighted).max() < 2e-6

    @pytest.mark.parametrize("name", ENCODERS)
    def test_every_family_weighs(self, name: str, minilm: Any) -> None:
        model = tiny(name)
        plain, doubled, again = (
            am.hf.encode(model, minilm[1], TEXTS, token_weights={"mask": w, "tokens": w}) for w in (1, 2, 2)
        )
        changed = np.abs(doubled - plain).max(1) > 1e-2
        assert changed.tolist() == [True, False, True, False, True, False, True, False, True]
        assert relative(again, doubled) == 0

    def test_a_word_that_occurs_nowhere_is_named(self, minilm: Any) -> None:
        with pytest.warns(am.hf.WordNotFoundWarning, match="'tensor'") as caught:
            am.hf.encode(*minilm, TEXTS, token_weights={"tensor": 2.0, "mask": 2.0})
        assert caught[0].filename == __file__

    def test_a_text_of_no_weight_is_refused(self) -> None:
        tokenizer = byte_level()
        texts = ["mask", "a mask"]
        weights = {"mask": 0.0, "a": 0.0}
        assert np.isfinite(am.hf.encode(tiny("bert"), tokenizer, texts, token_weights=weights)).all()
        bare = tf.PreTrainedTokenizerFast(tokenizer_object=_without_special_tokens(tokenizer), pad_token="<pad>")
        with pytest.raises(ArgumentError, match=r"all tokens of texts\[0\] weigh 0"):
            am.hf.encode(tiny("bert"), bare, texts, token_weights=weights, max_length=9)


def _without_special_tokens(tokenizer: Any) -> Any:
    import tokenizers

    bare = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    bare.post_processor = tokenizers.processors.ByteLevel()
    return bare


class TestTheModelIsLeftAsItWas:
    @pytest.mark.parametrize("name", ENCODERS)
    def test_after_encoding(self, name: str, minilm: Any) -> None:
        model = tiny(name).train()
        submodule = next(module for module in model.modules() if isinstance(module, torch.nn.Dropout))
        submodule.eval()
        am.hf.encode(model, minilm[1], TEXTS)
        assert model.config._attn_implementation == "eager"
        assert model.training
        assert not submodule.training
        assert not torch.is_inference_mode_enabled()

        assert not any("forward" in vars(module) for module in model.modules())

    def test_after_a_model_that_cannot_be_switched(self, minilm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        model, switched = tiny("bert").train(), []

        def fails_once(name: str | dict[str, str]) -> None:
            switched.append(name)
            if len(switched) == 1:
                raise RuntimeError("cannot")

        with monkeypatch.context() as patch:
            patch.setattr(model, "set_attn_implementation", fails_once)
            with pytest.raises(RuntimeError, match="cannot"):
                am.hf.encode(model, minilm[1], TEXTS)
        assert switched == ["attnmask"]
        assert model.training
        assert model.config._attn_implementation == "eager"
        assert am.hf.encode(model, minilm[1], TEXTS).shape == (len(TEXTS), 32)

    def test_dropout_of_a_model_in_training_does_not_reach_the_vectors(self, minilm: Any) -> None:
        model = tiny("bert")
        expected = am.hf.encode(model, minilm[1], TEXTS)
        assert (am.hf.encode(model.train(), minilm[1], TEXTS) == expected).all()

    def test_after_an_error(self, minilm: Any) -> None:
        model = tiny("bert").train()

        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            am.hf.encode(model, minilm[1], TEXTS, progress=stop)
        assert model.config._attn_implementation == "eager"
        assert model.training

    def test_when_two_threads_encode_at_once(self, minilm: Any) -> None:
        model, tokenizer = tiny("bert"), minilm[1]
        expected = am.hf.encode(model, tokenizer, TEXTS)
        entered, leave, results = threading.Barrier(2), threading.Event(), dict[str, np.ndarray]()

        def slow() -> None:
            def wait(done: int, total: int) -> None:
                if done == total:
                    entered.wait()
                    leave.wait()

            results["slow"] = am.hf.encode(model, tokenizer, TEXTS, progress=wait)

        thread = threading.Thread(target=slow)
        thread.start()
        entered.wait()
        results["fast"] = am.hf.encode(model, tokenizer, TEXTS)
        assert model.config._attn_implementation == "attnmask"
        leave.set()
        thread.join()
        assert model.config._attn_implementation == "eager"
        assert (results["slow"] == expected).all()
        assert (results["fast"] == expected).all()


class TestSideBySide:
    """Batches run on several workers, each on one thread."""

    @pytest.fixture(autouse=True)
    def three_threads(self, one_thread: None) -> None:
        torch.set_num_threads(3)

    @pytest.mark.parametrize("name", ["bert", "mpnet", "modernbert"])
    def test_each_text_gets_what_it_gets_alone(self, name: str, minilm: Any) -> None:
        model, texts = tiny(name), TEXTS * 5
        expected = np.stack([alone(model, minilm[1], text) for text in TEXTS] * 5)
        assert relative(am.hf.encode(model, minilm[1], texts, token_budget=30), expected) < TOLERANCE
        weighted = am.hf.encode(model, minilm[1], texts, token_budget=30, token_weights={"mask": 3.0})
        changed = np.abs(weighted - expected).max(1) > 1e-2
        assert changed.tolist() == ["mask" in text for text in texts]

    def test_threads_are_as_many_afterwards(self, minilm: Any) -> None:
        am.hf.encode(tiny("bert"), minilm[1], TEXTS, token_budget=1)
        assert torch.get_num_threads() == _threads_of_a_new_thread() == 3

    def test_threads_are_as_many_after_calls_that_overlap(self, minilm: Any) -> None:
        model, tokenizer = tiny("bert"), minilm[1]
        inside, leave = threading.Event(), threading.Event()

        def wait(done: int, total: int) -> None:
            inside.set()
            leave.wait()

        def encode(progress: Any) -> None:
            am.hf.encode(model, tokenizer, TEXTS, token_budget=1, progress=progress)

        slow, fast = (threading.Thread(target=encode, args=(each,)) for each in (wait, None))
        slow.start()
        inside.wait()
        fast.start()
        fast.join()
        assert _threads_of_a_new_thread() == 3
        leave.set()
        slow.join()
        assert torch.get_num_threads() == _threads_of_a_new_thread() == 3

    def test_an_error_in_a_worker_is_raised_and_stops_the_others(
        self, minilm: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs: list[int] = []

        def broken(*_: Any) -> Any:
            runs.append(1)
            raise MemoryError("no room")

        monkeypatch.setattr("attnmask.hf.inference.encoding.position_ids", broken)
        model = tiny("bert")
        with pytest.raises(MemoryError, match="no room"):
            am.hf.encode(model, minilm[1], TEXTS * 100, token_budget=1)
        assert len(runs) < 900
        assert model.config._attn_implementation == "eager"
        assert torch.get_num_threads() == 3


def _threads_of_a_new_thread() -> int:
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return counts[0]


def test_nothing_is_warned_of_where_nothing_is_lost(minilm: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        am.hf.encode(*minilm, TEXTS)
