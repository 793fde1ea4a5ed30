"""What comes with a model is data: nothing in its folder is run, and what asks to be is refused."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

import tiny
from samdan.lm.chat import ChatFormat
from samdan.lm.model import load_model, save_model
from samdan.lm.tokenizer import load_tokenizer, train_tokenizer
from samdan.lm.trust import refusal, require_data_only
from samdan.records import DataError
from samdan.train import state

EVIL = "from pathlib import Path\nPath({canary!r}).touch()\n"
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("config.json", {"auto_map": {"AutoConfig": "evil.Config"}}),
    ("config.json", {"auto_map": {"AutoModelForCausalLM": "someone/model--evil.Model"}}),
    ("config.json", {"text_config": {"auto_map": {"AutoConfig": "evil.Config"}}}),
    ("config.json", {"_attn_implementation": "someone/kernel"}),
    ("config.json", {"_attn_implementation_internal": "someone/kernel@main:evil"}),
    ("config.json", {"attn_implementation": {"text_config": "someone/kernel"}}),
    ("config.json", {"_experts_implementation": "someone/kernel"}),
    ("config.json", {"kernel_config": {"RMSNorm": "someone/kernel:Norm"}}),
    ("config.json", {"use_kernels": True}),
    ("config.json", {"trust_remote_code": True}),
    ("config.json", {"vision": [{"backbone_trust_remote_code": 1}]}),
    ("config.json", {"_target_": "os.system"}),
    ("config.json", {"quantization_config": {"quant_method": "someone/method"}}),
    ("config.json", {"num_hidden_layers": 10**9}),
    ("generation_config.json", {"custom_generate": "someone/decoding"}),
    ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}),
    ("tokenizer_config.json", {"tokenizer_class": "evil.Tokenizer"}),
    ("tokenizer_config.json", {"tokenizer_class": "someone/model--evil.Tokenizer"}),
    ("tokenizer_config.json", {"tokenizer_class": ["PreTrainedTokenizerFast"]}),
    ("adapter_config.json", {"base_model_name_or_path": "someone/model"}),
    ("model.safetensors.index.json", {"weight_map": {"a": "../../etc/passwd.safetensors"}}),
    ("model.safetensors.index.json", {"weight_map": {"a": "/etc/x.safetensors"}}),
    ("model.safetensors.index.json", {"weight_map": {"a": "pytorch_model.bin"}}),
]
PICKLES = (
    *("pytorch_model.bin", "model.pt", "optimizer.pt", "scheduler.pt", "rng_state.pth"),
    *("training_args.bin", ".metadata", "tokenizer.pkl", "hidden.mdl", "optimizer.bin"),
)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    chat = ChatFormat(train_tokenizer(tiny.TEXTS, tiny.VOCAB + 300))
    save_model(tiny.model(vocab_size=len(chat.tokenizer)), chat, folder, "card", True)
    return folder


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "copied"
    copied.mkdir()
    for file in model_folder.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    return copied


class _Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def crafted(canary: Path) -> bytes:
    return pickle.dumps(_Evil(canary))


def zipped(file: Path, canary: Path) -> None:
    """A pickle where torch.save puts it."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", crafted(canary))
        archive.writestr("archive/version", "3\n")


def test_the_crafted_pickle_is_one(tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    pickle.loads(crafted(canary))
    assert canary.exists()


@pytest.mark.parametrize(("name", "asked"), REFUSED)
def test_what_asks_for_code_is_refused(name: str, asked: dict[str, Any], tmp_path: Path) -> None:
    config = {"model_type": "qwen2", "num_hidden_layers": 2}
    (tmp_path / "model.safetensors").touch()
    (tmp_path / name).write_text(json.dumps(config | asked), "utf-8")
    (tmp_path / "evil.py").write_text(EVIL.format(canary=str(tmp_path / "ran")), "utf-8")
    with pytest.raises(DataError) as raised:
        require_data_only(str(tmp_path))
    assert name in str(raised.value)
    for load in (load_model, load_tokenizer):
        with pytest.raises(DataError):
            load(str(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": None, "use_kernels": False, "trust_remote_code": False},
        {"_attn_implementation": "sdpa", "_experts_implementation": {"": "eager", "text": None}},
        {"tokenizer_class": "Qwen2TokenizerFast", "added_tokens_decoder": {"0": {"content": "x"}}},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        {"id2label": {"0": "auto_map"}, "label2id": {"auto_map": 0}},
        {"weight_map": {"a": "model-00001-of-00002.safetensors"}},
    ],
)
def test_what_published_models_say_is_accepted(config: dict[str, Any]) -> None:
    assert refusal(config) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"nul", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 60 + b"1" + b"}" * 60, b" " * 2],
)
def test_a_config_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(DataError, match=r"config\.json"):
        require_data_only(str(tmp_path))


@pytest.mark.parametrize("name", PICKLES)
def test_a_folder_with_a_pickle_beside_does_nothing(name: str, folder: Path) -> None:
    for number, write in enumerate((lambda f, c: f.write_bytes(crafted(c)), zipped)):
        canary = folder / f"ran{number}"
        write(folder / name, canary)
        assert load_model(str(folder)) is not None
        assert load_tokenizer(str(folder)) is not None
        assert not canary.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.h5"])
def test_a_folder_that_has_only_pickles_is_refused(name: str, folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    zipped(folder / name, folder / "ran")
    with pytest.raises(DataError, match=f"{name}.*safetensors"):
        load_model(str(folder))
    assert not (folder / "ran").exists()


def test_weights_that_are_missing_are_not_random(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if key.endswith("q_proj.weight"))
    save_file({k: v for k, v in weights.items() if k != name}, folder / "model.safetensors",
              {"format": "pt"})  # fmt: skip
    with pytest.raises(DataError, match=f"lack 1 of the tensors.*{name}"):
        load_model(str(folder))


def test_a_checkpoint_with_pickles_beside_does_nothing(tmp_path: Path) -> None:
    import torch

    model = torch.nn.Linear(2, 2)
    names = [name for name, _ in model.named_parameters()]
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "names": names}], lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    progress = state.Progress(3, 9, "chain", "identity", {})
    made = state.save_checkpoint(tmp_path, model, optimizer, progress, keep=2)
    canary = tmp_path / "ran"
    for name in PICKLES:
        zipped(made / name, canary)
        (made / f"plain-{name}").write_bytes(crafted(canary))
    found, problems = state.latest_checkpoint(tmp_path, "identity")
    assert (found, problems) == (made, [])
    assert state.load_checkpoint(made, model, optimizer) == progress
    assert not canary.exists()
