"""Whether the disk has room for what a stage is going to write."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any, Final

STATE_BYTES: Final = 12  # of a trained parameter: the fp32 weight and AdamW's two states
MARGIN: Final = 1.1


def needed(folder: Path, model: Any) -> int:
    """Bytes that the next checkpoint takes: as many as the last one and a tenth more.

    Before there is one, what trained parameters and their states take, or the exported model where
    that is larger. ``folder``: where checkpoints are written.
    """
    sizes = [sum(file.stat().st_size for file in path.iterdir()) for path in folder.glob("step-*")]
    if sizes:
        return int(MARGIN * max(sizes))
    trained, whole = _sizes(model)
    return int(MARGIN * max(STATE_BYTES * trained, whole))


def missing(folder: Path, model: Any) -> str:
    """What is missing, in words; empty where there is room."""
    most, free = needed(folder, model), shutil.disk_usage(_existing(folder)).free
    if free >= most:
        return ""
    return f"{most / 1e9:.3g} GB needed, {free / 1e9:.3g} GB free on its disk"


def require_room(folder: Path, model: Any) -> None:
    """Raises OSError before a checkpoint is begun for which the disk has no room."""
    if found := missing(folder, model):
        raise OSError(errno.ENOSPC, found)


def require_room_for_all(folder: Path, model: Any, per_weight: int, keep: int) -> None:
    """Raises OSError when the disk cannot hold what a stage will write.

    That is ``keep`` checkpoints, the one that is being written, and the model. ``per_weight``:
    bytes that a checkpoint holds of a trained parameter.
    """
    trained, exported = _sizes(model)
    most = (keep + 1) * per_weight * trained + exported
    held = sum(f.stat().st_size for path in folder.glob("step-*") for f in path.iterdir())
    free = held + shutil.disk_usage(_existing(folder)).free
    if free < most:
        raise OSError(
            errno.ENOSPC,
            f"{most / 1e9:.3g} GB needed for {keep} + 1 checkpoints and the model, "
            f"{free / 1e9:.3g} GB free",
        )


def _sizes(model: Any) -> tuple[int, int]:
    """Numbers that are trained, and bytes of the whole model."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trained, sum(p.numel() * p.element_size() for p in model.parameters())


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_dir())
