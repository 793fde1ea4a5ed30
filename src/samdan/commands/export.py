"""`samdan export`: a model to take home, with its card and the proof that it is the same."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from samdan.commands.quiet import quiet_libraries
from samdan.lm.folders import require_free
from samdan.printing import printable

DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_SIZE = re.compile(r"(?i)(\d+(?:\.\d+)?)\s*(MB|GB|MiB|GiB)")
_UNITS = {"mb": 10**6, "gb": 10**9, "mib": 1 << 20, "gib": 1 << 30}


def export(
    place: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_MODEL",
            help="A run, a model folder, an adapter's folder or a Hub id.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The folder to write; new or empty.", show_default=False)
    ],
    stage: Annotated[
        str | None, typer.Option(help="Of a run: this stage's model, not the last.")
    ] = None,
    dtype: Annotated[
        Literal["base", "float32", "bfloat16", "float16"],
        typer.Option(help="Precision of the weights; base: what the base had."),
    ] = "base",
    max_shard_size: Annotated[str, typer.Option(help="Size of one file of weights.")] = "5GB",
    lang: Annotated[
        Literal["both", "en", "ko"], typer.Option(help="Language of the model card.")
    ] = "both",
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Also a model whose gate was not passed; the card says so."),
    ] = False,
    gguf: Annotated[
        Literal["auto", "f32", "f16", "bf16", "q8_0"] | None,
        typer.Option(help="Write a GGUF file of this type too; auto: the precision of --dtype."),
    ] = None,
    llama_cpp: Annotated[
        Path | None,
        typer.Option(help="A checkout of llama.cpp, for --gguf; or LLAMA_CPP.", show_default=False),
    ] = None,
    push_to_hub: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Upload it to the Hugging Face Hub, private."),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="For all to see.")] = False,
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Let --push-to-hub send the folder away.")
    ] = False,
) -> None:
    """Writes a run's model for others: safetensors, tokenizer, model card, Modelfile, proof."""
    shard_bytes = _bytes(max_shard_size)
    _require_consent(push_to_hub, public, allow_network)
    if llama_cpp is not None and gguf is None:
        raise typer.BadParameter("needs --gguf", param_hint="--llama-cpp")
    require_free(out)  # told before seconds of loading
    quiet_libraries()
    from samdan.lm.pushing import push, require_name
    from samdan.records import DataError
    from samdan.run.exporting import Wanted
    from samdan.run.exporting import export as write

    if push_to_hub is not None:
        require_name(push_to_hub)
    wanted = Wanted(
        out, stage, DTYPES.get(dtype), shard_bytes, lang, anyway, gguf, llama_cpp, push_to_hub
    )
    made = write(place, wanted, lambda text: print(printable(text), file=sys.stderr, flush=True))
    for line in made.lines:
        print(printable(line))
    if push_to_hub is not None:
        print(printable(f"uploaded: {push(made.folder, push_to_hub, public)}"))
    if made.without_gguf:
        raise DataError(f"{made.without_gguf}. {made.folder} is whole without it")


def _require_consent(name: str | None, public: bool, allowed: bool) -> None:
    if name is None and (public or allowed):
        hint = "--public" if public else "--allow-network"
        raise typer.BadParameter("belongs to --push-to-hub", param_hint=hint)
    if name is not None and not allowed:
        raise typer.BadParameter(
            f"sends the model and its card to the Hugging Face Hub as {name}; add --allow-network "
            "if that is wanted",
            param_hint="--push-to-hub",
        )


def _bytes(size: str) -> int:
    """``5GB`` in bytes."""
    found = _SIZE.fullmatch(size.strip())
    if found is None or not float(found[1]):
        raise typer.BadParameter(
            f"found {size!r}, expected such as 5GB", param_hint="--max-shard-size"
        )
    return max(1, int(float(found[1]) * _UNITS[found[2].lower()]))
