"""An export loads in plain transformers and is proved to be the same, or there is none."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import growing
import tiny
from samdan.cli import app
from samdan.lm import layout, sameness
from samdan.lm.gguf import convert, converter_of, reason
from samdan.lm.tensors import Checkpoint
from samdan.lm.tokenizer import train_tokenizer
from samdan.records import DataError, EnvironmentFailure, GateFailed
from samdan.run import exporting
from samdan.run.export_subject import licence_in
from samdan.run.exporting import Wanted


def quiet(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 with a rotary base that is nobody's default, and a chat template."""
    folder = tmp_path_factory.mktemp("models") / "hanbit"
    growing.base(folder, rope_parameters={"rope_type": "default", "rope_theta": 123456.0})
    made = tiny.chat().tokenizer
    made.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", "utf-8")
    (folder / "LICENSE").write_text("Apache License\nVersion 2.0\n", "utf-8")
    return folder


def export(place: Path, out: Path, **wanted: Any) -> exporting.Exported:
    return exporting.export(str(place), Wanted(out, **wanted), quiet)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_plain_transformers_loads_it_and_nothing_asks_for_code(model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    own = tmp_path / "own"
    shutil.copytree(model, own)
    for name in ("config.json", "generation_config.json"):
        config = json.loads((own / name).read_text("utf-8"))
        (own / name).write_text(json.dumps(config | {"_name_or_path": "/secret/place"}), "utf-8")
    made = export(own, tmp_path / "out", dtype="BF16", shard_bytes=20_000)
    loaded = AutoModelForCausalLM.from_pretrained(made.folder, dtype="auto")
    assert loaded.dtype == torch.bfloat16
    assert loaded.config.rope_parameters["rope_theta"] == 123456.0
    assert len(list(made.folder.glob("*.safetensors"))) > 2  # shards, joined again by the index
    tokenizer = AutoTokenizer.from_pretrained(made.folder)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "안녕"}], add_generation_prompt=True, tokenize=False
    )
    assert asked == "<|im_start|>user\n안녕<|im_end|>\n<|im_start|>assistant\n"
    files = [f for f in made.folder.iterdir() if f.suffix != ".safetensors"]
    texts = "".join(f.read_text("utf-8") for f in files)
    for found in ("auto_map", "/secret", str(tmp_path), str(model)):
        assert found not in texts
    config = json.loads((made.folder / "config.json").read_text("utf-8"))
    assert (config["rope_theta"], config["torch_dtype"]) == (123456.0, "bfloat16")
    assert "additional_special_tokens" in (made.folder / "tokenizer_config.json").read_text("utf-8")
    assert (made.folder / "LICENSE").is_file()
    assert 'license: "apache-2.0"' in (made.folder / "README.md").read_text("utf-8")
    record = json.loads((made.folder / "export.json").read_text("utf-8"))
    assert record["check"]["same"] is True
    assert set(record["files"]) == {f.name for f in made.folder.iterdir()} - {"export.json"}
    assert 0 < record["check"]["as_written"]["rms"] <= record["check"]["as_written"]["limit"]


def test_a_tokenizer_that_is_not_qwen2_s_is_read_right(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    text = "부산에서는 무엇을 먹나요? 부산이다. 부산은 크다."
    split = train_tokenizer([text] * 30, 320, split_particles=True)
    folder = tmp_path / "model"
    made = tiny.model(vocab_size=len(split), eos_token_id=0, pad_token_id=0)
    made.save_pretrained(folder)
    split.save_pretrained(folder)
    wanted = split(text).input_ids
    assert AutoTokenizer.from_pretrained(folder)(text).input_ids != wanted  # what goes wrong
    out = export(folder, tmp_path / "out")
    assert out.record["as_llama"] is True
    assert AutoTokenizer.from_pretrained(out.folder)(text).input_ids == wanted
    assert out.record["check"]["fp32"]["rms"] < 1e-5


def test_a_changed_weight_is_found(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = layout.write_weights

    def spoilt(source: Any, folder: Path, *rest: Any) -> int:
        total = written(source, folder, *rest)
        file = folder / "model.safetensors"
        tensors = load_file(file)
        tensors["model.norm.weight"][3] += 1e-4
        save_file(tensors, file, metadata={"format": "pt"})
        return total

    monkeypatch.setattr(layout, "write_weights", spoilt)
    with pytest.raises(GateFailed, match=r"'model.norm.weight' differs in rows 0 to 32"):
        export(model, tmp_path / "out")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("key", ["rope_theta", "rms_norm_eps"])
@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_a_changed_setting_is_found(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, dtype: str
) -> None:
    plain = layout.plain_config

    def spoilt(folder: Path, kind: str) -> dict[str, Any]:
        config = plain(folder, kind)
        if key == "rope_theta":
            config["rope_parameters"][key] = config[key] = 10000.0
        else:
            config[key] *= 1e4
        return config

    monkeypatch.setattr(layout, "plain_config", spoilt)
    with pytest.raises(GateFailed, match="its logits in fp32 differ by"):
        export(model, tmp_path / "out", dtype=dtype)
    assert leftovers(tmp_path) == []


def test_other_token_ids_are_found() -> None:
    ours, theirs = tiny.tokenizer(), tiny.tokenizer()
    assert sameness.other_tokens(ours, theirs, sameness.HARD, []) == []
    theirs.add_tokens(["한국어"])
    assert "tokens, and the run's" in sameness.other_tokens(ours, theirs, sameness.HARD, [])[0]
    ours.add_tokens(["문장의"])
    assert "it reads" in sameness.other_tokens(ours, theirs, sameness.HARD, [])[0]
    chat = tiny.chat().tokenizer
    asked = [([{"role": "user", "content": "x"}], [1])]
    assert "its chat template makes" in sameness.other_tokens(chat, chat, [], asked)[0]


def test_float16_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    folder = growing.base(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] = 1e5
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"'model.norm.weight' holds 1e\+05, and float16 ends"):
        export(folder, tmp_path / "out", dtype="F16")
    assert leftovers(tmp_path) == ["model"]


def test_an_adapter_is_merged_into_its_base(model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    adapter = tmp_path / "adapter"
    adapted.save_pretrained(adapter)
    out = export(adapter, tmp_path / "out")
    loaded = AutoModelForCausalLM.from_pretrained(out.folder).eval()
    ids = torch.arange(1, 20)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, adapted.eval()(ids).logits)
    assert leftovers(tmp_path) == ["adapter", "out"]
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(DataError, match="other formats can hold code"):
        export(adapter, tmp_path / "again")


def test_a_folder_with_something_in_it_is_left_alone(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("x", "utf-8")
    with pytest.raises(DataError, match="is not empty"):
        export(model, out)
    file = tmp_path / "file"
    file.write_text("x", "utf-8")
    with pytest.raises(DataError, match="is there already"):
        export(model, file)
    with pytest.raises(DataError, match=r"no config\.json"):
        export(out, tmp_path / "other")
    assert leftovers(tmp_path) == ["file", "out"]


def test_what_was_cut_off_does_not_look_finished(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = tmp_path / ".out.4194300.tmp"  # beyond the largest process number
    dead.mkdir()

    def stops(*_: Any) -> None:
        assert [path.name for path in tmp_path.iterdir()] == [f".out.{os.getpid()}.tmp"]
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "_compared", stops)
    with pytest.raises(KeyboardInterrupt):
        export(model, tmp_path / "out")
    assert leftovers(tmp_path) == []


def test_no_room_is_told_before(model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(EnvironmentFailure, match="GB are free"):
        export(model, tmp_path / "out")


# --- licence, GGUF, Hub ---------------------------------------------------------------------------


def test_licences_are_read_as_they_are_named(tmp_path: Path) -> None:
    assert licence_in(tmp_path) is None
    (tmp_path / "LICENSE").write_text("MIT License\n\nCopyright", "utf-8")
    assert licence_in(tmp_path) == "mit"
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: other\nlicense_name: qwen\n---\nlicense: no\n", "utf-8")
    assert licence_in(tmp_path) == "qwen"
    card.write_text("no front matter\nlicense: gpl\n", "utf-8")
    assert licence_in(tmp_path) == "mit"


CONVERTER = """\
import os, sys
folder, out, kind = sys.argv[1], sys.argv[3], sys.argv[5]
assert os.environ["HF_HUB_OFFLINE"] == "1" and "HF_TOKEN" not in os.environ
if os.path.exists(os.path.join(os.path.dirname(__file__), "refuse")):
    raise NotImplementedError("BPE pre-tokenizer was not recognized - update get_vocab_base_pre()")
assert os.path.exists(os.path.join(folder, "config.json"))
open(out, "w").write(kind)
"""


def test_gguf_by_a_converter_that_is_there(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    with pytest.raises(EnvironmentFailure, match=r"clone github.com/ggml-org/llama.cpp"):
        export(model, tmp_path / "out", gguf="auto")
    with pytest.raises(EnvironmentFailure, match=r"expected a checkout of llama\.cpp"):
        converter_of(tmp_path, {})
    assert leftovers(tmp_path) == []
    home = tmp_path / "llama.cpp"
    home.mkdir()
    (home / "convert_hf_to_gguf.py").write_text(CONVERTER, "utf-8")
    monkeypatch.setenv("LLAMA_CPP", str(home))
    out = export(model, tmp_path / "out", gguf="auto", dtype="BF16")
    assert (out.folder / "hanbit-bf16.gguf").read_text("utf-8") == "bf16"
    assert (out.folder / "Modelfile").read_text("utf-8").startswith("FROM ./hanbit-bf16.gguf\n")
    assert "hanbit-bf16.gguf" in out.record["files"]
    (home / "refuse").touch()
    refused = export(model, tmp_path / "second", gguf="q8_0")
    assert "it does not know this tokenizer" in refused.without_gguf
    assert (refused.folder / "Modelfile").read_text("utf-8").startswith("FROM .\n")


def test_a_converter_s_own_reason_is_told(tmp_path: Path) -> None:
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("import sys; sys.exit('no such model')", "utf-8")
    with pytest.raises(DataError, match="no such model"):
        convert(script, tmp_path, tmp_path / "a.gguf", "f16")
    assert "pip install gguf" in reason("ModuleNotFoundError: No module named 'gguf'")
    assert sys.executable


class Hub:
    """What huggingface_hub's API does, without a network."""

    def __init__(self, private: bool = True) -> None:
        self.private, self.calls = private, []

    def create_repo(self, name: str, private: bool, exist_ok: bool) -> None:
        self.calls.append(("create", name, private))

    def repo_info(self, name: str) -> Any:
        return self

    def upload_folder(self, folder_path: str, repo_id: str, commit_message: str) -> Any:
        self.calls.append(("upload", repo_id, sorted(os.listdir(folder_path))))
        return self


def test_the_hub_gets_it_private_and_only_when_allowed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalTokenNotFoundError

    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    secret = "hf_" + "Ab1" * 12
    monkeypatch.setenv("HF_TOKEN", secret)

    def call(*more: str) -> Any:
        words = ["export", str(model), "--out", str(tmp_path / "out"), "--lang", "en", *more]
        return CliRunner().invoke(app, words)

    refused = call("--push-to-hub", "hanbit/seven")
    assert refused.exit_code == 2
    assert "--allow-network" in refused.output
    assert call("--public").exit_code == 2
    assert hub.calls == []
    assert not (tmp_path / "out").exists()
    done = call("--push-to-hub", "hanbit/seven", "--allow-network")
    assert done.exit_code == 0, done.output
    assert secret not in done.output
    assert hub.calls[0] == ("create", "hanbit/seven", True)
    assert "model.safetensors" in hub.calls[1][2]
    assert "export.json" in hub.calls[1][2]
    assert "vllm serve hanbit/seven" in (tmp_path / "out" / "README.md").read_text("utf-8")

    from samdan.lm.pushing import push, require_name

    hub.private = False
    hub.calls.clear()
    with pytest.raises(DataError, match="this repository is public; nothing was uploaded"):
        push(tmp_path / "out", "hanbit/seven", public=False)
    assert [call[0] for call in hub.calls] == ["create"]
    push(tmp_path / "out", "hanbit/seven", public=True)

    def fails(*_: Any, **__: Any) -> None:
        raise LocalTokenNotFoundError("no token")

    monkeypatch.setattr(hub, "create_repo", fails)
    with pytest.raises(EnvironmentFailure, match="set HF_TOKEN or run"):
        push(tmp_path / "out", "hanbit/seven", public=True)

    def leaks(*_: Any, **__: Any) -> None:
        raise OSError(f"refused for {secret}")

    monkeypatch.setattr(hub, "create_repo", leaks)
    with pytest.raises(EnvironmentFailure) as caught:
        push(tmp_path / "out", "hanbit/seven", public=True)
    assert secret not in str(caught.value)
    with pytest.raises(DataError, match="expected OWNER/NAME"):
        require_name("../x")


def test_the_whole_of_a_sharded_model_is_read(model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    sharded = tmp_path / "sharded"
    shutil.copytree(model, sharded)
    (sharded / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(sharded, max_shard_size="20KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    out = export(sharded, tmp_path / "out")
    one, other = Checkpoint(model), Checkpoint(out.folder)
    assert [path.name for path in out.folder.glob("*.safetensors")] == ["model.safetensors"]
    for name in one.tensors:
        assert torch.equal(one.read(name), other.read(name))
