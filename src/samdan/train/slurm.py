"""What ``srun`` sets, in torchrun's words."""

from __future__ import annotations

import re
from collections.abc import Mapping


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """RANK, WORLD_SIZE and so on from Slurm's variables; empty where they do not apply.

    They do not where a launcher has set RANK, with one task, and in a batch script itself: there
    SLURM_PROCID is 0 whatever the number of tasks, but no step (and no meeting point) is set.
    """
    number = environment.get("SLURM_PROCID")
    count = environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS") or "1"
    in_a_step = "SLURM_STEP_ID" in environment or "MASTER_ADDR" in environment
    if "RANK" in environment or number is None or int(count) < 2 or not in_a_step:
        return {}
    job = int(environment.get("SLURM_JOB_ID") or 0)
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST") or ""
    found = {
        "RANK": number,
        "WORLD_SIZE": count,
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        "MASTER_ADDR": environment.get("MASTER_ADDR") or first_host(hosts) or "127.0.0.1",
        # Jobs that share a node differ in their number, and so in their port.
        "MASTER_PORT": environment.get("MASTER_PORT") or str(20_000 + job % 10_000),
    }
    local = re.match(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    return found | ({"LOCAL_WORLD_SIZE": local[0]} if local else {})


def first_host(hosts: str) -> str:
    """``gpu[07-09,12],login`` to ``gpu07``."""
    found = re.match(r"([^,\[]*)(?:\[([^,\-\]]+)[^\]]*\])?([^,\[]*)", hosts)
    return "".join(part or "" for part in found.groups()) if found else ""
