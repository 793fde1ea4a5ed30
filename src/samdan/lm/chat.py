"""Chat templates to token ids and loss masks: the only place where loss masks are made.

A conversation is rendered by the tokenizer's own template twice: once as it is, and once with a
sentinel for every message. The second tells which characters the template wrote and which the
messages did, so special tokens typed inside a message stay text, and exactly the assistant's words
and the token that ends its turn are trained.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samdan.lm.batch import Encoded
from samdan.lm.templates import Template, TemplateLimit
from samdan.lm.tokenizer import TURN_END, TURN_START, text_encoder
from samdan.records import Conversation, Drop, Message, PreferencePair, RecipeError

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Private-use characters: a template has no reason to contain them, and does not strip them.
_SENTINEL = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Characters of a rendered conversation with one origin and one fate."""

    text: str
    special: bool  # a special token that the template wrote
    trained: bool


class TemplateError(Exception):
    """The template cannot render this conversation, or not in a way that labels can be made for."""


class ChatFormat:
    """A tokenizer, its chat template, and what ends a turn and a document."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.encoder = text_encoder(tokenizer)
        self.had_template = tokenizer.chat_template is not None
        before = len(tokenizer)
        self.document_end: int | None = tokenizer.eos_token_id
        self.document_start: int | None = _bos_if_used(tokenizer)
        if not self.had_template:
            _add_chatml(tokenizer)
            self.encoder = text_encoder(tokenizer)
        self.new_tokens = tuple(range(before, len(tokenizer)))
        self._specials = _special_ids(tokenizer)
        ordered = sorted(self._specials, key=len, reverse=True)
        self._special_pattern = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
        self._opening = ""
        self._template: Template | None = None
        self.turn_end = self._find_turn_end()
        if self.document_end is None:
            self.document_end = self.turn_end

    @property
    def stop_tokens(self) -> tuple[int, ...]:
        """What ends a generation, the turn's end first."""
        ends = (self.turn_end, self.document_end)
        return tuple(dict.fromkeys(end for end in ends if end is not None))

    def template_tokens(self) -> dict[str, int]:
        """The special tokens that the template writes around a dialogue, by name."""
        probe = (Message("user", "가"), Message("assistant", "나")) * 2
        pieces = self._pieces(probe, generation_prompt=False)
        return {piece.text: self._specials[piece.text] for piece in pieces if piece.special}

    def encode_text(self, text: str) -> list[int]:
        """Token ids of plain text, special tokens in it read as text."""
        ids: list[int] = self.encoder.encode(text, add_special_tokens=False).ids
        return ids

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self.encoder.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def documents(self, texts: Sequence[str]) -> list[Encoded]:
        """Documents as token ids, each with its end token; every token is trained."""
        start = [] if self.document_start is None else [self.document_start]
        end = [] if self.document_end is None else [self.document_end]
        return [_encoded([(start + ids + end, True)]) for ids in self.encode_texts(texts)]

    def encode(self, record: Conversation | PreferencePair) -> Encoded | Drop:
        """A record of an SFT or a DPO stage."""
        if isinstance(record, PreferencePair):
            return self.pair(record)
        return self.conversation(record)

    def conversation(self, record: Conversation) -> Encoded | Drop:
        """Assistant turns trained, everything else masked; cut behind the last trained token."""
        try:
            encoded = self._encode(self._pieces(record.messages, generation_prompt=False))
        except TemplateError as error:
            return Drop("template", record.origin, str(error))
        if not encoded.trained.any():
            return Drop("no_label", record.origin, "the template leaves nothing to train on")
        return _cut_behind_last_label(encoded)

    def pair(self, record: PreferencePair) -> Encoded | Drop:
        """``[prompt, chosen | rejected]`` with the prompt once."""
        halves = []
        for answer in (record.chosen, record.rejected):
            half = self.conversation(Conversation(record.prompt + answer, record.origin))
            if isinstance(half, Drop):
                return half
            halves.append(half)
        try:
            prompt_ids = self.prompt(record.prompt)
        except TemplateError as error:
            return Drop("template", record.origin, str(error))
        chosen, rejected = halves
        prefix = len(prompt_ids)
        for half in halves:
            if half.tokens[:prefix].tolist() != prompt_ids:
                return Drop("template", record.origin, "the answer's rendering changes the prompt")
            half.trained[:prefix] = False  # the assistant's earlier turns
        return Encoded(
            np.concatenate([chosen.tokens, rejected.tokens[prefix:]]),
            np.concatenate([chosen.trained, rejected.trained[prefix:]]),
            prefix,
            len(chosen),
        )

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids after which the assistant speaks. Raises TemplateError."""
        ids: list[int] = self._encode(
            self._pieces(messages, generation_prompt=True)
        ).tokens.tolist()
        return ids

    def answered(self, prompt: Sequence[Message], answer: str) -> Encoded:
        """Prompt and answer, the answer (without its end token) trained: for scoring choices."""
        prompt_ids = self.prompt(prompt)
        return _encoded([(prompt_ids, False), (self.encode_text(self._opening + answer), True)])

    def _find_turn_end(self) -> int | None:
        probe = (Message("user", "가"), Message("assistant", "나"))
        try:
            self._opening = self._find_opening(probe)
            pieces = self._pieces(probe, generation_prompt=False)
            prompt = self._encode(self._pieces(probe[:1], generation_prompt=True)).tokens.tolist()
        except TemplateError as error:
            raise RecipeError(
                f"base.tokenizer: its chat template fails on a plain dialogue: {error}"
            ) from None
        encoded = self._encode(pieces)
        first = int(np.flatnonzero(encoded.trained)[0])
        if encoded.tokens[:first].tolist() != prompt:
            raise RecipeError(
                "base.tokenizer: its chat template asks for an answer with other tokens "
                "(add_generation_prompt) than it writes before one; a model trained on the second "
                "would be asked with the first"
            )
        ends = [piece for piece in pieces if piece.special and piece.trained]
        return self._specials[ends[0].text] if ends else None

    def _find_opening(self, probe: Sequence[Message]) -> str:
        """What the template writes between its generation prompt and an answer, often a space.

        The model must write it too, so it is part of the answer.
        """
        marked = _marked(probe)
        asked = self._render(marked[:1], generation_prompt=True)
        before = self._render(marked, generation_prompt=False).partition(marked[1].content)[0]
        return before.removeprefix(asked) if before.startswith(asked) else ""

    def _render(self, messages: Sequence[Message], generation_prompt: bool) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            if self._template is None:
                self._template = Template(self.tokenizer.get_chat_template())
            return self._template.render(
                turns,
                tools=None,
                documents=None,
                add_generation_prompt=generation_prompt,
                **self.tokenizer.special_tokens_map,
            )
        except TemplateLimit as error:
            raise TemplateError(str(error)) from None
        except Exception as error:  # a template is a program of someone else's
            raise TemplateError(f"{type(error).__name__}: {error}"[:500]) from None

    def _pieces(self, messages: Sequence[Message], generation_prompt: bool) -> list[_Piece]:
        real = self._render(messages, generation_prompt)
        parts = _SENTINEL.split(self._render(_marked(messages), generation_prompt))
        frames, order = parts[::2], [int(number) for number in parts[1::2]]
        if order != list(range(len(messages))):
            raise TemplateError("the template leaves out, repeats or reorders messages")
        pieces = self._frame(frames[0], trained=False)
        position = len(frames[0])
        for number, frame in zip(order, frames[1:], strict=True):
            message = messages[number]
            content = _as_rendered(real, position, message.content, frame)
            is_answer = message.role == "assistant"
            if is_answer:
                pieces = self._with_opening(pieces)
            pieces.append(_Piece(content, special=False, trained=is_answer))
            pieces += self._frame(frame, trained=is_answer)
            position += len(content) + len(frame)
        if "".join(piece.text for piece in pieces) != real:
            raise TemplateError("the template rewrites what messages say")
        return pieces

    def _with_opening(self, pieces: list[_Piece]) -> list[_Piece]:
        """The pieces before an answer, the answer's opening at their end trained."""
        *others, last = pieces
        if not self._opening or last.special or not last.text.endswith(self._opening):
            return pieces
        header = _Piece(last.text.removesuffix(self._opening), False, last.trained)
        return [*others, header, _Piece(self._opening, False, True)]

    def _frame(self, text: str, trained: bool) -> list[_Piece]:
        """What the template wrote between two messages; trained up to its first special token."""
        pieces, position = [], 0
        for match in self._special_pattern.finditer(text):
            pieces.append(_Piece(text[position : match.start()], False, trained))
            pieces.append(_Piece(match.group(), True, trained))
            trained = False
            position = match.end()
        return [*pieces, _Piece(text[position:], False, trained)]

    def _encode(self, pieces: Sequence[_Piece]) -> Encoded:
        """Text between special tokens is tokenized in one go, but never across a label's edge."""
        runs: list[tuple[list[int], bool]] = []
        text, trained = "", False
        for piece in pieces:
            if text and (piece.special or (piece.text and piece.trained != trained)):
                runs.append((self.encode_text(text), trained))
                text = ""
            if piece.special:
                runs.append(([self._specials[piece.text]], piece.trained))
            elif piece.text:
                text, trained = text + piece.text, piece.trained
        if text:
            runs.append((self.encode_text(text), trained))
        return _encoded(runs)


def show_labels(record: Encoded, tokenizer: Any, limit: int = 400) -> str:
    """The record as text with what is trained between ⟦ and ⟧, for a person to read."""
    shown: list[int | str] = []
    open_ = False
    for token, trained in zip(record.tokens[:limit], record.trained[:limit], strict=True):
        if bool(trained) != open_:
            shown.append("⟦" if trained else "⟧")
            open_ = bool(trained)
        shown.append(int(token))
    text = ""
    buffer: list[int] = []
    for item in [*shown, "⟧" if open_ else ""]:
        if isinstance(item, int):
            buffer.append(item)
            continue
        text += tokenizer.decode(buffer, skip_special_tokens=False) + item
        buffer = []
    return text + (" …" if len(record) > limit else "")


def set_stop_tokens(chat: ChatFormat, model: Any) -> None:
    """Makes the turn's end the end token of tokenizer, config and generation config.

    Qwen2.5's base models ship a chat template but end on ``<|endoftext|>``: without this a model
    that was taught to close its turn would be asked to go on.
    """
    if chat.turn_end is None:
        return
    chat.tokenizer.eos_token = chat.tokenizer.convert_ids_to_tokens(chat.turn_end)
    model.config.eos_token_id = chat.turn_end
    stops = list(chat.stop_tokens)
    model.generation_config.eos_token_id = stops if len(stops) > 1 else stops[0]
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = chat.tokenizer.pad_token_id


def _marked(messages: Sequence[Message]) -> list[Message]:
    return [Message(m.role, f"\ue000{i}\ue001") for i, m in enumerate(messages)]


def _encoded(runs: Sequence[tuple[Sequence[int], bool]]) -> Encoded:
    tokens = [token for ids, _ in runs for token in ids]
    trained = [flag for ids, flag in runs for _ in ids]
    return Encoded(np.asarray(tokens, np.uint32), np.asarray(trained, np.bool_))


def _cut_behind_last_label(record: Encoded) -> Encoded:
    end = int(np.flatnonzero(record.trained)[-1]) + 1
    return Encoded(record.tokens[:end], record.trained[:end])


def _as_rendered(real: str, position: int, content: str, frame: str) -> str:
    """The content as the template wrote it: as it is, or stripped as many templates do."""
    for candidate in (content, content.strip(), content.lstrip(), content.rstrip()):
        if real.startswith(candidate + frame, position):
            return candidate
    raise TemplateError("the template rewrites what messages say")


def _bos_if_used(tokenizer: Any) -> int | None:
    """The token that the tokenizer itself puts before a text, if it does."""
    ids = tokenizer("가").input_ids
    used = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    return tokenizer.bos_token_id if used else None


def _add_chatml(tokenizer: Any) -> None:
    known = tokenizer.get_vocab()
    missing = [token for token in (TURN_START, TURN_END) if token not in known]
    if missing:
        tokenizer.add_special_tokens(
            {"additional_special_tokens": missing}, replace_extra_special_tokens=False
        )
    tokenizer.chat_template = CHATML


def _special_ids(tokenizer: Any) -> dict[str, int]:
    added = {str(t.content): i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    named = {str(t): tokenizer.convert_tokens_to_ids(str(t)) for t in tokenizer.all_special_tokens}
    return added | named
