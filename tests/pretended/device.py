"""A CUDA device that does not exist: its tensors lie in the host's memory and hold real values.

What a machine without a GPU can check of the path for one: that nothing mixes tensors of both
sides, where the host waits for the device, and that the values are those of the CPU. Not checked:
the kernels themselves (variable-length attention is played here), compiling, and time.

``guard.cpp`` answers what torch's autograd engine asks of such a device; it must be preloaded.
"""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GIB = 2**30
_HOST = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
aten = torch.ops.aten
# Results whose shape or value the host must know before it goes on.
_WAITING = frozenset([
    "_local_scalar_dense", "_unique2", "equal", "masked_select", "nonzero", "unique_consecutive",
    "unique_dim",
])  # fmt: skip
# What torch lets read from both sides: copies, and indices of the host's.
_MIXING = frozenset(["_to_copy", "copy_", "index", "index_put", "index_put_", "_index_put_impl_"])


class OnDevice(Tensor):
    """A tensor of the device; ``host`` holds its values, ``share`` counts them as allocated."""

    host: Tensor
    share: _Share

    @staticmethod
    def __new__(cls, host: Tensor) -> OnDevice:
        shape, steps, offset = host.size(), host.stride(), host.storage_offset()
        made: OnDevice = Tensor._make_wrapper_subclass(
            cls, shape, steps, offset, dtype=host.dtype, device="cuda:0"
        )
        made.host, made.share = host, _Share(host.untyped_storage())
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        assert Device.present is not None
        return Device.present.carry_out(func, args, kwargs or {})

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, value: OnDevice) -> None:
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.host, self.share = value.host, value.share

    # What libraries that write tensors look at.
    def untyped_storage(self) -> Any:
        return self.host.untyped_storage()

    def storage(self) -> Any:
        return self.host.storage()

    def data_ptr(self) -> int:
        return self.host.data_ptr()

    def tolist(self) -> Any:
        return self.cpu().tolist()


class _Share:
    """One tensor's part in an allocation, which is freed with the last of them."""

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self.key, self.size = storage._cdata, storage.nbytes()
        memory = Memory.present
        memory.tensors[self.key] += 1
        if memory.tensors[self.key] == 1:
            memory.bytes += self.size
            memory.peak = max(memory.peak, memory.bytes)
            if memory.bytes > memory.limit:
                raise torch.OutOfMemoryError(f"{memory.bytes} of {memory.limit} bytes")

    def __del__(self) -> None:
        memory = Memory.present
        memory.tensors[self.key] -= 1
        if not memory.tensors[self.key]:
            del memory.tensors[self.key]
            memory.bytes -= self.size


class Memory:
    """What is allocated on the device, but for what a kernel takes while it runs."""

    present: Memory

    def __init__(self) -> None:
        self.tensors: Counter[int] = Counter()
        self.bytes = self.peak = 0
        self.limit = 80 * GIB


Memory.present = Memory()


class Device(TorchDispatchMode):
    """Within it ``cuda`` can be used. ``waits`` says where the host waited for it."""

    present: Device | None = None

    def __init__(self) -> None:
        super().__init__()
        Device.present = self
        self.attention_calls = 0
        self.waits: list[Wait] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self.carry_out(func, args, kwargs or {})

    def carry_out(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if torch.is_inference_mode_enabled():  # operators made of others come whole
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        here = any(isinstance(x, OnDevice) for x in tensors)
        target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        made_here = here if target is None else target.type == "cuda"
        if not here and not made_here:
            return func(*args, **kwargs)
        name = func._schema.name.split("::")[1]
        if here and name not in _MIXING:
            _require_one_side(name, tensors)
        if _waits(name, args, kwargs, tensors, made_here):
            self.waits.append(Wait.here(str(func)))
        on_host = dict(kwargs) | ({"device": torch.device("cpu")} if target is not None else {})
        with torch.inference_mode(False), torch.no_grad(), _Kernels():
            out = func(*tree_map(_to_host, tuple(args)), **tree_map(_to_host, on_host))
            if "out" in kwargs:
                return kwargs["out"]
            if func._schema.is_mutable and isinstance(out, Tensor):
                return args[0]  # what it wrote into
            return tree_map(_to_device, out) if made_here else out


class Wait:
    """An operator for which the host waited, and the project's functions that led to it."""

    def __init__(self, operator: str, thread: str, functions: tuple[str, ...]) -> None:
        self.operator, self.thread, self.functions = operator, thread, functions

    @staticmethod
    def here(operator: str) -> Wait:
        frames = traceback.extract_stack()
        names = tuple(frame.name for frame in frames if "/samdan/" in frame.filename)
        return Wait(operator, threading.current_thread().name, names)

    @property
    def in_a_pass(self) -> bool:
        """Of a training forward, or of a backward, which runs in a thread of the engine's."""
        return "loss_sums" in self.functions or self.thread.startswith("Dummy")

    def __repr__(self) -> str:
        return f"{self.operator} in {' > '.join(self.functions[-4:])} ({self.thread})"


def _to_host(x: Any) -> Any:
    return x.host if isinstance(x, OnDevice) else x


def _to_device(x: Any) -> Any:
    return OnDevice(x) if isinstance(x, Tensor) and not isinstance(x, OnDevice) else x


def _require_one_side(name: str, tensors: Sequence[Tensor]) -> None:
    """A number may come from the host, as torch allows; nothing larger."""
    strange = [tuple(x.shape) for x in tensors if not isinstance(x, OnDevice) and x.dim()]
    if strange:
        raise RuntimeError(f"{name}: expected all tensors on cuda:0, but {strange} are on cpu")


def _waits(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], tensors: Sequence[Tensor], to: bool
) -> bool:
    if name in _WAITING:
        return True
    if name in ("_to_copy", "copy_"):
        source = args[0] if name == "_to_copy" else args[1]
        target_here = to if name == "_to_copy" else isinstance(args[0], OnDevice)
        if isinstance(source, OnDevice) == target_here:
            return False
        at_once = kwargs.get("non_blocking") or (name == "copy_" and args[2:3] == (True,))
        return not (target_here and at_once and getattr(source, "pinned", False))
    if name in _MIXING:  # by truths, or by indices that have to come here first
        return any(x.dtype == torch.bool or not isinstance(x, OnDevice) for x in tensors[1:])
    return name == "repeat_interleave" and isinstance(args[0], OnDevice)


# --- kernels that the host lacks ------------------------------------------------------------------


class _Kernels(TorchDispatchMode):
    """Plays the kernels for variable lengths, segment by segment, in fp32."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _PLAYED:
            return _PLAYED[func](*args, **kwargs)
        if func.namespace == "aten":
            return func(*args, **kwargs)
        with self:  # an operator that is written in Python calls others
            return func.redispatch(_HOST, *args, **kwargs)


def _weights(q: Tensor, k: Tensor, scale: float, causal: bool) -> tuple[Tensor, Tensor]:
    """Softmax [G, R, L, S] of the scores of q [L, G, R, D], k [S, G, D], and the sum's log."""
    scores = torch.einsum("lgrd,sgd->grls", q, k) * scale
    if causal:  # aligned at the bottom right
        seen = torch.ones(scores.shape[2:], dtype=torch.bool).tril(len(k) - len(q))
        scores = scores.masked_fill(~seen, float("-inf"))
    return scores.softmax(-1), scores.logsumexp(-1)


def _pieces(cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int) -> list[tuple[slice, slice]]:
    rows, keys = (
        [slice(a, b) for a, b in zip(cu[:-1].tolist(), cu[1:].tolist(), strict=True)]
        for cu in (cu_q, cu_k)
    )
    for parts, most in ((rows, max_q), (keys, max_k)):
        assert max(part.stop - part.start for part in parts) <= most
    return list(zip(rows, keys, strict=True))


def _forward(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, max_q: int, max_k: int,
    dropout: float, causal: bool, debug: bool, *, scale: float, **others: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    assert q.dtype in (torch.bfloat16, torch.float16)
    assert cu_q.dtype == cu_k.dtype == torch.int32
    assert not dropout
    assert Device.present is not None
    Device.present.attention_calls += 1
    out, lse = torch.empty_like(q), torch.empty(q.shape[1], len(q))
    for rows, keys in _pieces(cu_q, cu_k, max_q, max_k):
        weights, sums = _weights(_grouped(q[rows], k), k[keys].float(), scale, causal)
        out[rows] = torch.einsum("grls,sgd->lgrd", weights, v[keys].float()).flatten(1, 2)
        lse[:, rows] = sums.flatten(0, 1)
    nothing = torch.zeros(2, dtype=torch.uint64)
    return out, lse, nothing, nothing, q.new_empty(0)


def _backward(
    upstream: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, cu_q: Tensor,
    cu_k: Tensor, max_q: int, max_k: int, dropout: float, causal: bool, *others: Any,
    scale: float, **more: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    by_q, by_k, by_v = (torch.empty_like(x) for x in (q, k, v))
    for rows, keys in _pieces(cu_q, cu_k, max_q, max_k):
        query, key, grad = _grouped(q[rows], k), k[keys].float(), _grouped(upstream[rows], k)
        weights, _ = _weights(query, key, scale, causal)
        by_weights = torch.einsum("lgrd,sgd->grls", grad, v[keys].float())
        by_scores = weights * (by_weights - (weights * by_weights).sum(-1, keepdim=True)) * scale
        by_q[rows] = torch.einsum("grls,sgd->lgrd", by_scores, key).flatten(1, 2)
        by_k[keys] = torch.einsum("grls,lgrd->sgd", by_scores, query)
        by_v[keys] = torch.einsum("grls,lgrd->sgd", weights, grad)
    return by_q, by_k, by_v


def _grouped(rows: Tensor, key: Tensor) -> Tensor:
    """[L, H, D] -> [L, G, R, D], fp32: R heads share the keys of one."""
    return rows.float().unflatten(1, (key.shape[1], -1))


def _product(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    assert a.dtype == b.dtype
    assert dtype in (a.dtype, torch.float32)
    return a.to(dtype) @ b.to(dtype)


_PLAYED: dict[Any, Callable[..., Any]] = {
    aten.mm.dtype: _product,
    aten._flash_attention_forward.default: _forward,
    aten._flash_attention_backward.default: _backward,
}


# --- what programs ask torch.cuda -----------------------------------------------------------------


def install() -> None:
    """For the rest of the process; a program that is about to use the device calls it first."""
    answers: dict[str, Any] = {
        "is_available": True, "device_count": 1, "current_device": 0,
        "mem_get_info": (8 * GIB, 80 * GIB), "memory_reserved": GIB, "memory_allocated": GIB // 2,
        "max_memory_reserved": GIB, "is_bf16_supported": True, "get_device_name": "Pretended",
        "get_device_capability": (9, 0), "is_current_stream_capturing": False,
        "get_device_properties": SimpleNamespace(name="Pretended", total_memory=80 * GIB),
    }  # fmt: skip
    nothing = (
        "_lazy_init", "init", "set_device", "synchronize", "empty_cache", "reset_peak_memory_stats",
    )  # fmt: skip
    for name, answer in (answers | dict.fromkeys(nothing)).items():
        setattr(torch.cuda, name, lambda *given, _answer=answer, **more: _answer)
    torch.Generator = _Generator  # type: ignore[misc]
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") by way of the host
    torch.Tensor.pin_memory = _pinned  # type: ignore[method-assign]
    torch.__future__.set_swap_module_params_on_conversion(True)  # else only values would move
    from samdan.lm import copies

    # A parameter on the device is of its tensors' class, which is no Parameter.
    copies.is_plain = lambda value: value.dtype == torch.float32


class _Generator(torch.Generator):
    """Of any device; draws on the host."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        return super().__new__(cls, "cpu")


def _pinned(tensor: Tensor) -> Tensor:
    copied = tensor.clone()
    copied.pinned = True  # type: ignore[attr-defined]
    return copied
