"""Other libraries keep quiet inside our own output."""

from __future__ import annotations

import os


def quiet_libraries() -> None:
    """No progress bars and no advice of theirs."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
