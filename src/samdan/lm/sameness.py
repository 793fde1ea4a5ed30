"""Is an exported model the model that it was made from? Weights, token ids, logits.

Weights are compared bit by bit in the precision that was written. Logits are compared twice, since
rounding to bf16 would hide a wrong setting in its own noise: once with both sides in fp32 on the
rounded weights, where nothing but the order of additions may differ, and once as a user gets them,
in the written precision, against the unrounded model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from samdan.lm.attention import Layout, Span
from samdan.lm.layout import in_dtype, names_of
from samdan.lm.tensors import DTYPES, Checkpoint
from samdan.lm.tokenizer import text_encoder

# Root mean square of the difference, as a share of the logits' own spread. Two ways to add up
# attention in fp32 differ by 1e-7 to 1e-5 here; an epsilon of a norm that is 10 times too large, by
# more than 1e-4.
SAME: Final = 1e-4
# The written precision may differ from the unrounded model by what rounding does, measured on the
# model itself, and by as much again for another kernel.
ROUNDING: Final = 2.0
MAX_NUMBERS: Final = 64 << 20  # logits held in memory at a time, in fp32
PROBE_TOKENS: Final = 48
# What tells tokenizers of one vocabulary apart: decomposed Hangul, digits, white space, signs.
HARD: Final = (
    "안녕하세요. 한국어 문장의 띄어쓰기와 조사를 봅니다.",
    "\u1112\u1161\u11ab\u1100\u1173\u11af\uff0c Café Ａ１",
    "  two  spaces\n\n\ttab 1234567890 3.14 don't",
    "def f(x):\n    return {'a': [x, x**2]}  # 👍🏽",
    "<|im_start|>user\n<|endoftext|></s>[INST]",
)


@dataclass(frozen=True)
class Logits:
    """How far two models' logits lie apart, over all positions of the probes."""

    positions: int
    rms: float  # of the difference, as a share of the spread of the logits
    limit: float
    largest: float  # difference of one logit
    same_top: float  # share of positions with the same likeliest token

    @property
    def same(self) -> bool:
        return self.rms <= self.limit  # NaN is not


@dataclass(frozen=True)
class Sameness:
    """What was compared. ``differs``: a sentence for each difference; empty when it is the same."""

    tensors: int
    texts: int
    tokenizer_class: str
    fp32: Logits | None
    as_written: Logits | None
    differs: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """As export.json holds it."""
        return {**asdict(self), "same": not self.differs, "differs": list(self.differs)}


def auto_tokenizer(folder: Path) -> Any:
    """The tokenizer as plain transformers reads it; runs no code that lies beside it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        str(folder), trust_remote_code=False, local_files_only=True
    )


def other_tokens(ours: Any, theirs: Any, texts: Iterable[str], prompts: Iterable[Any]) -> list[str]:
    """How ``theirs`` reads texts and dialogues otherwise than ``ours``: a sentence each.

    ``prompts``: messages, and the token ids that the run asks the model with.
    """
    if len(ours) != len(theirs):
        return [f"it has {len(theirs)} tokens, and the run's {len(ours)}"]
    for name in ("eos_token", "pad_token", "bos_token"):
        wanted, found = getattr(ours, name), getattr(theirs, name)
        if wanted != found:
            return [f"its {name} is {found!r}, and the run's {wanted!r}"]
    plain, other = text_encoder(ours), text_encoder(theirs)
    for text in texts:
        first, second = (e.encode(text, add_special_tokens=False).ids for e in (plain, other))
        if first == second:
            first, second = ours(text).input_ids, theirs(text).input_ids
        if first != second:
            return [f"it reads {text[:40]!r} as {_apart(second, first)}"]
        if ours.decode(first) != theirs.decode(first):
            return [f"it writes the tokens of {text[:40]!r} as other text"]
    for messages, ids in prompts:
        shown = theirs.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        found = theirs(shown, add_special_tokens=False).input_ids
        if found != list(ids):
            return [f"its chat template makes {_apart(found, list(ids))} of a dialogue"]
    return []


def _apart(found: Sequence[int], wanted: Sequence[int]) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b),
        min(len(found), len(wanted)),
    )
    return (
        f"{list(found[at : at + 4])} from token {at} on ({len(found)} tokens), where the run has "
        f"{list(wanted[at : at + 4])} ({len(wanted)})"
    )


def other_weights(
    source: Checkpoint, folder: Path, dtype: str, tied: bool
) -> tuple[int, list[str]]:
    """How many tensors were compared bit by bit, and a sentence for the first that differs.

    ``source`` in its own precision, ``folder`` as written; what only the latter has must be zero.
    """
    written = Checkpoint(folder)
    names = names_of(source, tied)
    if missing := [name for name in names if name not in written.tensors]:
        return 0, [f"tensor '{missing[0]}' is missing"]
    for name in names:
        stored = source.tensors[name].dtype
        for first, last in source.pieces(name):
            ours = in_dtype(source.read(name, first, last), stored, dtype, name)
            theirs = written.read(name, first, last)
            if ours.dtype != theirs.dtype or not torch.equal(_bits(ours), _bits(theirs)):
                return len(names), [f"tensor '{name}' differs in rows {first} to {last}"]
    for name in sorted(written.tensors.keys() - set(names)):
        if any(bool(piece.any()) for piece in written.copy(name)):
            return len(names), [f"tensor '{name}' is not in the run's model"]
    return len(names), []


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


@dataclass(frozen=True)
class Reference:
    """The run's model on the probes: logits by probe [T, V] in fp32."""

    probes: tuple[tuple[int, ...], ...]
    rounded: list[Tensor]  # of the weights as they are written, computed in fp32
    exact: list[Tensor]  # of the weights as they are
    noise: float  # how far the model lies from itself when it computes in the written precision


def reference(model: Any, probes: Sequence[Sequence[int]], dtype: str) -> Reference:
    """Logits of the run's model, which has samdan's attention and fp32 weights; changes them."""
    chosen = _within_memory(model, probes)
    model.eval()
    exact = [_packed(model, probe) for probe in chosen]
    if dtype == "F32":
        return Reference(chosen, exact, exact, 0.0)
    _cast(model, DTYPES[dtype])
    noise = _distance([_packed(model, probe) for probe in chosen], exact)[0]
    _cast(model, torch.float32)
    return Reference(chosen, [_packed(model, probe) for probe in chosen], exact, noise)


def logits(folder: Path, known: Reference, dtype: str) -> tuple[Logits, Logits]:
    """The exported model, as plain transformers loads it: in fp32, and as it is written."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype="auto", trust_remote_code=False, use_safetensors=True,
        local_files_only=True,
    )  # fmt: skip
    model.to(_device()).eval()
    limit = SAME + ROUNDING * known.noise
    written = _judged([_plain(model, probe) for probe in known.probes], known.exact, limit)
    if dtype == "F32":
        return written, written
    _cast(model, torch.float32)
    return _judged([_plain(model, probe) for probe in known.probes], known.rounded, SAME), written


def _judged(found: Sequence[Tensor], wanted: Sequence[Tensor], limit: float) -> Logits:
    rms, largest, same = _distance(found, wanted)
    return Logits(sum(map(len, wanted)), rms, limit, largest, same)


def _distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> tuple[float, float, float]:
    """Difference by the spread of the logits around their mean; the largest; the same top token."""
    square = spread = largest = 0.0
    same = positions = 0
    for ours, theirs in zip(found, wanted, strict=True):
        if ours.shape != theirs.shape:
            return float("inf"), float("inf"), 0.0
        apart = (ours - theirs).double()
        square += float(apart.square().sum())
        centred = theirs.double() - theirs.double().mean(-1, keepdim=True)
        spread += float(centred.square().sum())
        largest = max(largest, float(apart.abs().max()))
        same += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
        positions += len(ours)
    return (square / max(spread, 1e-30)) ** 0.5, largest, same / max(positions, 1)


def _within_memory(model: Any, probes: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    left = max(32, MAX_NUMBERS // int(model.config.get_text_config().vocab_size))
    chosen = []
    for probe in probes:
        cut = tuple(int(token) for token in probe[: min(PROBE_TOKENS, left)])
        if cut:
            chosen.append(cut)
            left -= len(cut)
        if left <= 0:
            break
    return tuple(chosen)


def _cast(model: Any, dtype: torch.dtype) -> None:
    """Weights only: the frequencies of rotary embeddings stay in fp32, as a loaded model's do."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def _packed(model: Any, probe: Sequence[int]) -> Tensor:
    """[T, V], through the attention that trains."""
    device = next(model.parameters()).device
    ids = torch.tensor([list(probe)], device=device)
    places = torch.arange(len(probe), device=device)[None]
    layout = Layout([Span(0, len(probe))]).to(device)
    out = model(input_ids=ids, position_ids=places, use_cache=False, layout=layout)
    found: Tensor = out.logits[0].float().cpu()
    return found


@torch.inference_mode()
def _plain(model: Any, probe: Sequence[int]) -> Tensor:
    """[T, V], as anybody calls a model."""
    ids = torch.tensor([list(probe)], device=next(model.parameters()).device)
    found: Tensor = model(input_ids=ids).logits[0].float().cpu()
    return found
