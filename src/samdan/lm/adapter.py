"""A PEFT adapter merged into its base: the base is looked for on this machine only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from samdan.lm.model import load_model, merged
from samdan.lm.tokenizer import load_tokenizer
from samdan.lm.trust import read_config, refusal, require_data_only
from samdan.records import DataError, first_line

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"


def merge(folder: Path, target: Path) -> None:
    """Writes the merged model (fp32) and its tokenizer into ``target``.

    Raises DataError where the adapter asks for code, is pickled, or its base is not here.
    """
    config = read_config(folder / CONFIG)
    if why := refusal(config):
        raise DataError(f"{folder / CONFIG}: {why}")
    if not (folder / WEIGHTS).is_file():
        raise DataError(f"{folder}: has no {WEIGHTS}; other formats can hold code")
    base = _base_of(config, folder)
    model = load_model(str(base))
    tokenizer_folder = folder if (folder / "tokenizer.json").is_file() else base
    tokenizer = load_tokenizer(str(tokenizer_folder.resolve()))
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    whole = merged(_adapted(model, folder))
    whole.save_pretrained(target, safe_serialization=True)
    tokenizer.save_pretrained(target)


def _base_of(config: dict[str, Any], folder: Path) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    named = str(config.get("base_model_name_or_path") or "")
    for path in (Path(named).expanduser(), folder / named):
        if named and (path / "config.json").is_file():
            require_data_only(str(path))
            return path
    try:
        revision = config.get("revision")
        return Path(snapshot_download(named, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError, ValueError):
        raise DataError(
            f"{folder / CONFIG}: its base '{named[:200]}' is not on this machine; download it "
            f"first, or write the folder that it lies in as base_model_name_or_path"
        ) from None


def _adapted(model: Any, folder: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(folder), use_safetensors=True)
    except MemoryError:
        raise
    except Exception as error:  # of a damaged folder, peft raises whatever it comes upon
        raise DataError(f"{folder}: cannot be put on its base: {first_line(error)}") from None
