"""The bridge to lm-evaluation-harness: its tasks, by its names, on the model of a stage.

The harness is the extra ``harness`` and is imported only where a recipe asks for it. Values per
item come back, so that its metrics get the same intervals and gates as ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from samdan.evals.subject import Scored, Subject
from samdan.lm.attention import NAME as ATTENTION
from samdan.records import DataError, EnvironmentFailure, EvalResult, first_line
from samdan.tasks import Harness

MISSING = "the task kind 'harness' needs lm-evaluation-harness: pip install 'samdan[harness]'"
# Metrics whose value per item is (log-likelihood, how many): nats, and what one is measured in.
_RATES = {"bits_per_byte": math.log(2), "byte_perplexity": 1.0, "word_perplexity": 1.0}
_TAG = re.compile(r"(?:^|[\s\[{,:-])!{1,2}[A-Za-z<]", re.MULTILINE)
_KEPT = 500  # characters of a prompt that are kept


def run_harness(task: Harness, subject: Subject) -> Scored:
    """``<name>/<harness task>_<metric>`` for every task and metric.

    A metric that is no mean over items (a macro F1) has one value and no interval.
    Raises EnvironmentFailure without the library, DataError for unknown tasks and missing data.
    """
    evaluator, manager, model = _library(task, subject)
    names = _requested(task, manager)
    model_ = subject.scorer.model
    model_.set_attn_implementation("sdpa")
    model_.eval()
    subject.poll()
    try:
        with subject.scorer.precision():
            found = evaluator.simple_evaluate(
                model=model,
                tasks=names,
                num_fewshot=task.num_fewshot,
                limit=task.limit,
                apply_chat_template=task.chat,
                fewshot_as_multiturn=task.chat,
                task_manager=manager,
                bootstrap_iters=0,
                log_samples=True,
            )
    except (OSError, ValueError, KeyError, ConnectionError) as error:
        raise DataError(
            f"evaluate.{task.name}: lm-evaluation-harness could not run {', '.join(task.tasks)}: "
            f"{type(error).__name__}: {first_line(error)[:300]}. Its data come from the Hub; "
            f"without a network give files under 'data', or tasks of your own under 'path'"
        ) from None
    finally:
        model_.set_attn_implementation(ATTENTION)
    results = tuple(_results(task.name, found))
    return Scored(results, tuple(_items(found)))


def _library(task: Harness, subject: Subject) -> tuple[Any, Any, Any]:
    """The evaluator, the tasks it knows, and our model as one of its own."""
    _refuse_code(task)
    try:
        from lm_eval import evaluator
        from lm_eval.models.huggingface import HFLM
    except ImportError as error:
        raise EnvironmentFailure(f"{MISSING} ({first_line(error)[:300]})") from None
    model = HFLM(
        pretrained=subject.scorer.model,
        tokenizer=subject.chat.tokenizer,
        batch_size=max(1, min(64, subject.capacity // 1024)),
        max_length=subject.max_length,
        truncation=True,
        # Of its own it switches autocast off around every call, and sums in the logits' precision.
        mixed_precision_dtype="bfloat16" if subject.scorer.bf16 else None,
        softmax_dtype="float32",
    )
    return evaluator, _manager(task), model


def _manager(task: Harness) -> Any:
    """What knows the tasks. Those of the harness, thousands of files, are looked at if needed."""
    from lm_eval.tasks import TaskManager

    if task.path is not None:
        own = TaskManager(include_path=task.path, include_defaults=False)
        if set(task.tasks) <= set(own.all_tasks):
            return own
        return TaskManager(include_path=task.path)
    return _shipped()


@cache
def _shipped() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _refuse_code(task: Harness) -> None:
    """A task file may import Python that lies beside it: it is code, and asked for as such."""
    if task.path is None or task.allow_code:
        return
    for file in sorted([*Path(task.path).rglob("*.yaml"), *Path(task.path).rglob("*.yml")]):
        if _TAG.search(file.read_text("utf-8", errors="replace")):
            raise DataError(
                f"evaluate.{task.name}: {file} holds a YAML tag such as '!function', which runs "
                f"Python; set 'allow_code: true' if you trust this folder"
            )


def _requested(task: Harness, manager: Any) -> list[Any]:
    """Names, or the task's configuration with files in place of its data set."""
    known = set(manager.all_tasks)
    unknown = [name for name in task.tasks if name not in known]
    if unknown:
        raise DataError(
            f"evaluate.{task.name}: lm-evaluation-harness knows no task {', '.join(unknown)}"
        )
    lost = [one.task for one in task.data if one.task not in task.tasks]
    if lost:
        raise DataError(
            f"evaluate.{task.name}: 'data' is given for {', '.join(lost)}, which is not among "
            f"'tasks' (name single tasks, not their group)"
        )
    local: dict[str, dict[str, str]] = {}
    for one in task.data:
        local.setdefault(one.task, {})[one.split] = one.path
    replaced = [_replaced(name, files) for name, files in local.items()]
    kept: list[Any] = [name for name in task.tasks if name not in local]
    # As members of a group: only there are fields laid over those of a known task.
    return [*kept, {"group": f"{task.name}-local", "task": replaced}] if replaced else kept


def _replaced(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    """A task with files for its data set; a split without a file is one that it does not have."""
    splits = {"training_split": "train", "validation_split": "validation", "test_split": "test"}
    here = {key: split if split in files else None for key, split in splits.items()}
    local = {"dataset_path": "json", "dataset_name": None, "fewshot_split": here["training_split"]}
    return {"task": name, **here, **local, "dataset_kwargs": {"data_files": dict(files)}}


def _results(name: str, found: Mapping[str, Any]) -> Iterator[EvalResult]:
    for task_name, samples in found["samples"].items():
        directions = found.get("higher_is_better", {}).get(task_name, {})
        for key, value in found["results"][task_name].items():
            metric, _, filtered = key.partition(",")
            if not isinstance(value, int | float) or metric.endswith("_stderr"):
                continue
            if metric not in directions:
                continue  # the number of items, and the like
            if filtered and any("filter" in s and s["filter"] != filtered for s in samples):
                rows = [s for s in samples if s["filter"] == filtered]
            else:
                rows = samples
            label = f"{name}/{task_name}_{metric}"
            yield _result(label, metric, rows, float(value), directions.get(metric))


def _result(
    label: str, metric: str, rows: Sequence[Mapping[str, Any]], value: float, better: bool | None
) -> EvalResult:
    """With values per item where the metric is made of them in a way that is known."""
    each = [row.get(metric) for row in rows]
    if metric in _RATES and all(isinstance(one, list | tuple) and len(one) == 2 for one in each):
        pairs = [tuple(one) for one in each if one is not None]
        nats = tuple(-float(logp) / _RATES[metric] for logp, _ in pairs)
        sizes = tuple(float(size) for _, size in pairs)
        return EvalResult(label, nats, sizes, False, exponential=metric != "bits_per_byte")
    numbers = [float(one) for one in each if isinstance(one, int | float)]
    if len(numbers) == len(rows) and math.isclose(_mean(numbers), value, abs_tol=1e-6):
        return EvalResult(label, tuple(numbers), (1.0,) * len(numbers), better)
    return EvalResult(label, (value,), (1.0,), better)


def _items(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for task_name, samples in found["samples"].items():
        for sample in samples:
            arguments = sample.get("arguments") or [[""]]
            first = next(iter(arguments.values())) if isinstance(arguments, dict) else arguments[0]
            prompt = next(iter(first.values())) if isinstance(first, dict) else first[0]
            yield {
                "task": task_name,
                "prompt": str(prompt)[-_KEPT:],
                "expected": sample.get("target"),
                "said": _said(sample.get("filtered_resps")),
                **{metric: sample.get(metric) for metric in sample.get("metrics", ())},
            }


def _said(responses: Any) -> Any:
    return responses if isinstance(responses, str | int | float | list) else str(responses)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else float("nan")
