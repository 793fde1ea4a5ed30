"""A model whose layers mix packed records is found by trying, whatever its name is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

import tiny
from samdan.lm.attention import NAME
from samdan.lm.model import load_model
from samdan.lm.separate import neighbours_share, require_separate
from samdan.records import DataError
from samdan.run.context import scorer_of


@pytest.mark.parametrize("family", ["Qwen2", "Llama", "Gemma3", "Olmo2", "Phi3"])
def test_attention_alone_keeps_records_apart(family: str) -> None:
    assert neighbours_share(tiny.model(family)) < 0.01


def test_the_usual_small_random_weights_are_no_false_alarm() -> None:
    """Hardly anything depends on the context there, and rounding must not look like a leak."""
    shape = tiny.SHAPE | {"vocab_size": 5000, "num_hidden_layers": 4, "pad_token_id": None}
    config = transformers.Qwen2Config(**shape, attn_implementation=NAME)
    for dtype in (torch.float32, torch.bfloat16):
        assert neighbours_share(transformers.Qwen2ForCausalLM(config).to(dtype)) < 0.1


def test_a_convolution_beside_attention_is_refused_and_told(tmp_path: Path) -> None:
    """LFM2 has transformers' mark for replaceable attention, and short convolutions."""
    torch.manual_seed(0)
    shape = tiny.SHAPE | {"layer_types": ["conv", "full_attention"], "block_ff_dim": 48}
    config = transformers.Lfm2Config(**shape, tie_word_embeddings=False)
    model = transformers.Lfm2ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path)).train()
    with pytest.raises(DataError, match="Lfm2ForCausalLM, whose records see their neighbours"):
        require_separate(loaded, "base")
    assert loaded.training
    with pytest.raises(DataError, match=r"base\.path: .* by attention alone"):
        scorer_of(str(tmp_path))
