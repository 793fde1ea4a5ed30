"""Mistakes with commands and run folders, and what the machine lacks."""

from __future__ import annotations

import errno
import shutil
import socket
from contextlib import ExitStack
from typing import Any

from .world import SFT, Mistake, World, source

TASK = "evaluate: [{kind: multiple_choice, name: exam, path: exam.jsonl}]\n"


def _tasks(text: str, model: str = "base") -> Any:
    return lambda world: ["eval", model, "--tasks", world.write("tasks.yaml", text)]


def _exam(world: World) -> list[str]:
    world.write("exam.jsonl", [{"prompt": "2 + 2 =", "choices": ["3", "4"], "answer": 2}])
    return list(_tasks(TASK)(world))


def _small_disk(world: World) -> list[str]:
    usage = shutil.disk_usage(world.folder)
    world.patch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    return ["run", world.recipe()]


def _full_disk(world: World) -> list[str]:
    def fail(*given: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "part.npy")

    world.patch.setattr("numpy.save", fail)
    return ["run", world.recipe()]


def _memory(world: World) -> list[str]:
    import torch

    def fail(*given: Any, **more: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    world.patch.setattr("samdan.train.objectives.NextToken.loss_sums", fail)
    return ["run", world.recipe()]


def _busy(world: World) -> list[str]:
    from samdan.run.ledger import Ledger

    ledger = Ledger(world.folder / "runs/small")
    ledger.lock()
    world.after.append(ledger.unlock)
    return ["run", world.recipe()]


def _taken(world: World, *words: str) -> list[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    world.after.append(listening.close)
    return [*words, "--port", str(listening.getsockname()[1])]


def _run(world: World) -> str:
    """A run that has just begun."""
    world.write("run/recipe.yaml", (world.folder / world.recipe(SFT)).read_text("utf-8"))
    world.write("run/events.jsonl", [{"event": "begin", "time": "2026-01-01T00:00:00Z"}])
    return "run"


def _teacher(endpoint: str, *more: str) -> Any:
    words = ["synthesize", "teacher", "docs.jsonl", "--out", "made.jsonl", "--model", "m"]
    return lambda world: [*words, "--task", "qa", "--endpoint", endpoint, *more]


def _wrong_key(world: World) -> list[str]:
    from teacher_server import status, teacher_server

    opened = ExitStack()
    world.after.append(opened.close)
    refusing = teacher_server(lambda seen, count: status(401, "invalid api key"))
    server = opened.enter_context(refusing)
    return list(_teacher(server.url)(world))


MISTAKES = (
    Mistake(
        "An unknown option",
        lambda w: ["run", w.recipe(), "--output", "runs/first"],
        ("No such option: --output", "--out"),
        "`samdan COMMAND --help` lists the options.",
        code=2,
    ),
    Mistake(
        "The output folder cannot be written",
        lambda w: ["run", w.recipe(), "--out", f"{w.write('file', '')}/run"],
        ("--out file/run: cannot be written",),
        "Name a folder that you may write to.",
        code=4,
    ),
    Mistake(
        "Two runs in one folder",
        _busy,
        ("runs/small: a run is going on here", "wait for it or choose another --out"),
        "Wait, or give the second run an `--out` of its own.",
        code=4,
    ),
    Mistake(
        "The disk is too small for the checkpoints",
        _small_disk,
        ("stages.sft: its checkpoints do not fit the disk", "free", "save_total_limit"),
        "Free some space, choose another `--out`, or keep fewer.",
        code=4,
    ),
    Mistake(
        "The disk is full",
        _full_disk,
        ("No space left on device", "free some space", "what is done is kept"),
        "Free some space and run the same command again.",
        code=4,
    ),
    Mistake(
        "Out of memory, and no smaller micro-batch is left",
        _memory,
        ("out of memory", "cannot be split", "gradient_checkpointing", "`samdan plan`"),
        "Before this, samdan has halved its micro-batches at the same effective batch. Do what "
        "the message says, or take a smaller base.",
        code=4,
    ),
    Mistake(
        "Quantization without its library or a GPU",
        lambda w: ["run", w.recipe(source("qa.jsonl", lora="{quantize: 4bit}"))],
        ("lora.quantize: '4bit' needs",),
        "Install the extra on a machine with a CUDA GPU, or leave `quantize` out.",
        code=4,
    ),
    Mistake(
        "The loss is no number any more",
        lambda w: ["run", w.recipe(source("qa.jsonl", learning_rate="1e30"))],
        ("the loss is not finite at step 2", "Lower learning_rate", "warmup_steps"),
        "Lower `learning_rate`, or give a longer warm-up.",
    ),
    Mistake(
        "`shard: full` in one process",
        lambda w: ["run", w.recipe(source("qa.jsonl", shard="full"))],
        ("stages.sft.shard: 'full' has no effect with one process", "torchrun"),
        "Start one process per GPU with torchrun.",
        code=0,
        calm=True,
    ),
    Mistake(
        "`samdan eval` on a folder that is not there",
        _tasks(TASK, "runs/none/dpo/model"),
        ("runs/none/dpo/model: there is no such model folder", "RUN/dpo/model"),
        "Name a model folder, such as `runs/first/dpo/model`.",
    ),
    Mistake(
        "`samdan eval` on a run instead of a model",
        lambda w: (
            w.write("run/sft/model/config.json", "{}"), _tasks(TASK, _run(w))(w)
        )[1],
        ("run: is no model folder", "name one of run/sft/model"),
        "Name the model of one of its stages.",
    ),
    Mistake(
        "The tasks' file is not there",
        lambda w: ["eval", "base", "--tasks", "tasks.yaml"],
        ("--tasks tasks.yaml: No such file",),
        "Correct the path.",
    ),
    Mistake(
        "The tasks are not under `evaluate`",
        _tasks("- {kind: multiple_choice, name: exam, path: exam.jsonl}\n"),
        ("tasks.yaml:1:1: found a list, expected keys such as 'evaluate: [...]'",),
        "Write `evaluate:` and the list below it.",
    ),
    Mistake(
        "A kind of task that does not exist",
        _tasks(TASK.replace("multiple_choice", "multi_choice")),
        ("found kind 'multi_choice'", "did you mean 'multiple_choice'"),
        "Write a kind of docs/evaluation.md.",
    ),
    Mistake(
        "A task's items are not there",
        _tasks(TASK),
        ("cannot read", "exam.jsonl: No such file"),
        "Correct the task's `path`.",
    ),
    Mistake(
        "An answer that is none of the choices",
        _exam,
        ("exam.jsonl:1", "'answer' is 2, expected an index from 0 to 1"),
        "Count the choices from 0.",
    ),
    Mistake(
        "`samdan chat` on a folder that is not there",
        lambda w: ["chat", "./runs/first"],
        ("./runs/first: there is no such model folder",),
        "Name a run or a model folder.",
    ),
    Mistake(
        "`samdan chat` on a folder that is neither a model nor a run",
        lambda w: (w.write("empty/notes.txt", ""), ["chat", "empty"])[1],
        ("empty: neither a model folder", "nor a run"),
        "Name a run or a model folder.",
    ),
    Mistake(
        "`samdan status` on a folder that is no run",
        lambda w: ["status", "base"],
        ("base: is no run directory",),
        "Name the `--out` of a run.",
    ),
    Mistake(
        "`samdan report` of a run that has just begun",
        lambda w: ["report", _run(w)],
        ("report.html",),
        "Nothing: the report shows what is there, and is written again after every stage.",
        code=0,
        calm=True,
    ),
    Mistake(
        "`samdan compare` with a folder that is no run",
        lambda w: ["compare", _run(w), "base"],
        ("base: is no run directory",),
        "Name two runs.",
    ),
    Mistake(
        "`samdan judge` before a stage is evaluated",
        lambda w: ["judge", "serve", _run(w)],
        ("run: no stage is evaluated yet", "no answers"),
        "Let the run evaluate a stage first.",
    ),
    Mistake(
        "The port is in use",
        lambda w: _taken(w, "watch", _run(w)),
        ("another program already listens there", "choose another --port, or leave it out"),
        "Leave `--port` out: any free one is taken.",
        code=4,
    ),
    Mistake(
        "A page for other machines",
        lambda w: ["serve", "base", "--host", "0.0.0.0"],
        ("0.0.0.0", "other machines reach", "--allow-network"),
        "Forward the port (`ssh -L`), or add `--allow-network` in a network that you trust.",
        code=2,
    ),
    Mistake(
        "The teacher's server is not up",
        _teacher("http://127.0.0.1:9/v1", "--set", "attempts=1"),
        ("http://127.0.0.1:9/v1: gives no answers", "is --endpoint right and the server up"),
        "Start the server, or correct `--endpoint`.",
        code=4,
    ),
    Mistake(
        "The teacher's key is wrong",
        _wrong_key,
        ("HTTP 401", "is the key, the path or the model (m) wrong?"),
        "Set the variable that `api_key_env` names.",
        code=4,
    ),
    Mistake(
        "The teacher's key is not set",
        _teacher("https://llm.example/v1", "--set", "api_key_env=NO_SUCH_KEY"),
        ("api_key_env: the environment variable NO_SUCH_KEY is not set",),
        "Set it in the shell that runs samdan.",
    ),
    Mistake(
        "A configuration that trains something else is imported",
        lambda w: ["import-recipe", w.write("ppo.yaml", "stage: ppo\n"), "--from", "llamafactory"],
        ("trains 'ppo', which has no counterpart", "cpt, sft, dpo"),
        "samdan has continued pre-training, SFT and DPO only.",
    ),
    Mistake(
        "`samdan init` would write over a recipe",
        lambda w: ["init", "--base", "base", "--out", w.recipe()],
        ("recipe.yaml is there already", "--out, or --force"),
        "Give another `--out`, or `--force`.",
    ),
    Mistake(
        "`samdan init` without data",
        lambda w: ["init", "--base", "base", "--out", "new.yaml"],
        ("init: no data", "--documents, --questions and --pairs"),
        "Name at least one of them.",
    ),
    Mistake(
        "A GPU that the table does not know",
        lambda w: ["plan", w.recipe(), "--device", "h1000"],
        ("--device: found 'h1000', expected 'here' or one of", "h100"),
        "Name one of them, or leave it out for this machine.",
    ),
)  # fmt: skip
