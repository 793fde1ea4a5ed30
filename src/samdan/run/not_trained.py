"""What of a base a run does not teach, though its files speak of it: sentences for ``check``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from samdan.budget.shapes import EXPERTS
from samdan.lm.chat import ChatFormat
from samdan.lm.skips import read_config
from samdan.lm.unlearned import unlearned


def not_trained(folder: Path, chat: ChatFormat | None) -> Iterator[str]:
    """A sentence each. ``chat``: None where the tokenizer is not known."""
    config = read_config(str(folder)).get_text_config()
    if any(int(getattr(config, name, None) or 0) > 1 for name in EXPERTS):
        yield (
            "base: a mixture of experts; the loss that balances its experts is not trained, so "
            "look at the held-out loss of a long stage"
        )
    if dropped := getattr(config, "attention_dropout", 0.0):
        yield (
            f"base: its config.json asks for attention_dropout {dropped}, which packed attention "
            f"leaves out; the stage's own dropout takes its place"
        )
    for token in unlearned(folder, chat.template_tokens()) if chat else ():
        yield (
            f"base: the chat template writes {token}, whose embedding the base never learned (its "
            f"row is all but zero). Full training will teach it, adapters will not; if a record "
            f"begins with it, its gradient may overflow. A base.tokenizer whose template writes "
            f"other tokens avoids both"
        )
