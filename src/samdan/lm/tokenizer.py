"""Tokenizers: loading them, training one from text, and the hash that identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from samdan.lm.failures import why
from samdan.lm.sentencepiece import read_sentencepiece
from samdan.lm.trust import read_config, require_data_only
from samdan.records import DataError, first_line

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# Words with their leading space, digits one by one, runs of punctuation, white space: Qwen2's
# split, restated.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# One of these is in every folder with a tokenizer: without any, transformers makes an empty one.
_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
# What transformers writes for a tokenizer that is all in tokenizer.json.
GENERIC = ("TokenizersBackend", "PreTrainedTokenizerFast")

# What follows a Korean noun, longest first. Split off, a noun is the same token whatever follows:
# a tiny model need not learn that 부산이다, 부산에 and 부산은 name one city.
_PARTICLES = (
    "에서는 에서 에는 으로 입니다 이었다 였다 이라고 이다 은 는 이 가 을 를 의 에 로 과 와 다"
)
_PARTICLE_END = rf"(?:{'|'.join(_PARTICLES.split())})[.,?!:]* ?$|[.,?!:]+ ?$"


def load_tokenizer(path: str, revision: str | None = None) -> Any:
    """A fast tokenizer from a folder or the Hub.

    Bare vocab.json and merges.txt are Qwen2's; a bare tokenizer.model is SentencePiece's.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    folder = Path(path)
    if folder.is_absolute() and not folder.exists():  # recipes hold absolute paths or Hub ids
        raise DataError(
            f"base: there is no folder {path}; expected one with a tokenizer, or a Hub id"
        )
    require_data_only(path, revision)
    if folder.is_dir() and not any((folder / name).is_file() for name in _FILES):
        raise DataError(
            f"{path}: holds no tokenizer ({', '.join(_FILES)}); copy the files of the model's own "
            f"tokenizer there, or name another folder in base.tokenizer.path"
        )
    if not (folder / "tokenizer_config.json").is_file():
        if (folder / "vocab.json").is_file():
            return _bare(folder)
        if (folder / "tokenizer.model").is_file():
            return read_sentencepiece(folder / "tokenizer.model")
    try:
        # A folder's own word counts: beside a Qwen2 model AutoTokenizer takes Qwen2's class
        # whatever the files say, and that class splits text in its own way: other ids.
        declared = get_tokenizer_config(path, revision=revision).get("tokenizer_class")
        loader = PreTrainedTokenizerFast if declared in GENERIC else AutoTokenizer
        tokenizer = loader.from_pretrained(path, revision=revision, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:  # tokenizers raises nothing more precise
        raise DataError(f"{path}: its tokenizer cannot be loaded: {why(error)}") from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise DataError(f"{path}: its tokenizer has no fast (tokenizers) form, which samdan needs")
    return tokenizer


def _bare(folder: Path) -> Any:
    vocab = read_config(folder / "vocab.json")
    try:
        lines = (folder / "merges.txt").read_text("utf-8").splitlines()
        pairs = (line.split(" ") for line in lines if line and not line.startswith("#version"))
        merges = [(left, right) for left, right in pairs]
        return _wrap(_byte_level(models.BPE(vocab=vocab, merges=merges)))
    except Exception as error:  # tokenizers raises nothing more precise
        raise DataError(f"{folder}: vocab.json and merges.txt: {first_line(error)[:500]}") from None


def train_tokenizer(texts: Iterable[str], vocab_size: int, split_particles: bool = False) -> Any:
    """A byte-level BPE of ``vocab_size`` tokens in all, with ChatML's special tokens."""
    tokenizer = _byte_level(models.BPE(), split_particles)
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return _wrap(tokenizer)


def _byte_level(model: Any, split_particles: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(model)
    words = [pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated")]
    if split_particles:
        words = [
            pre_tokenizers.Split("\n", behavior="isolated"),
            pre_tokenizers.Split(" ", behavior="merged_with_previous"),
            pre_tokenizers.Split(Regex(_PARTICLE_END), behavior="isolated"),
        ]
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*words, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _wrap(tokenizer: Tokenizer) -> Any:
    from transformers import PreTrainedTokenizerFast

    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
    wrapped.add_special_tokens({"additional_special_tokens": [TURN_START, TURN_END]})
    return wrapped


def tokenizer_hash(tokenizer: Any) -> str:
    """Identifies what the tokenizer does to text and conversations."""
    state = (
        tokenizer.backend_tokenizer.to_str()
        + str(tokenizer.chat_template)
        + str(tokenizer.eos_token)
    )
    return hashlib.sha256(state.encode()).hexdigest()


def text_encoder(tokenizer: Any) -> Tokenizer:
    """A copy of the tokenizer to which special tokens typed inside a text are text."""
    encoder: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    encoder.encode_special_tokens = True
    encoder.no_padding()
    encoder.no_truncation()
    return encoder
