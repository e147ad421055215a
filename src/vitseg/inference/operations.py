"""What one run of a model takes: multiply-adds by operator, the parameters it uses, the memory of its tensors."""

from __future__ import annotations

import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten

Part = Literal["backbone", "decoder"]

OPERATORS = {
    aten.mm: "linear",
    aten.addmm: "linear",
    aten.convolution: "convolution",
    aten._convolution: "convolution",
    aten.bmm: "matrix product",
    aten.baddbmm: "matrix product",
}
"""Names in tables, outside `scaled_dot_product_attention`; another operator keeps torch's name.

Attention of few queries, which reads the memory unprojected (`vitseg.decoders.atm_layers`), is written out: its
products are matrix products.
"""


@dataclass(frozen=True)
class Operations:
    """Multiply-adds (1 MAC = 1) of a run and what it touched.

    Attributes:
        macs: Multiply-adds by operator, of the backbone and of the decoder. All that is no backbone is the decoder,
            mixing the classes at every pixel included.
        used_parameters: Parameters that an operator took, by number of elements.
    """

    macs: Mapping[Part, Mapping[str, int]]
    used_parameters: int

    @property
    def total(self) -> int:
        """Multiply-adds of both parts together."""
        return sum(sum(macs.values()) for macs in self.macs.values())


def count_operations(model: nn.Module, run: Callable[[], object]) -> Operations:
    """Count what a run takes.

    torch's counter is used, halved to multiply-adds: it knows matrix products, convolutions and attention (its two
    products). Normalisation, activations, softmax and resizing are not counted; fvcore, by which the papers counted,
    adds 5 per element of a normalisation and 4 per element of a bilinear resize, about 0.2 % of a SegViT.

    Args:
        model: A module with a child `backbone`.
        run: Runs the model, uncompiled, and whatever follows it up to the labels; several runs are added up.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_UNCOUNTED)
    watch = _Watch(counter)
    with _frozen(model), torch.no_grad(), counter, watch:
        run()
    counts, attention = _copy(counter), watch.attention
    parts = {name: Counter[str]() for name in ("Global", f"{type(model).__name__}.backbone")}
    for name, macs in parts.items():
        for operator, flops in counts[name].items():
            inside = attention[name][operator]
            macs["attention"] += inside // 2
            macs[OPERATORS.get(operator, str(operator).rpartition(".")[2])] += (flops - inside) // 2
    whole, backbone = (+macs for macs in parts.values())  # without zeros
    elements = sum(parameter.numel() for parameter in watch.parameters.values())
    return Operations({"backbone": dict(backbone), "decoder": dict(whole - backbone)}, elements)


@contextmanager
def _frozen(model: nn.Module) -> Generator[None, None, None]:
    """No parameter asks for a gradient: a view of one would, even under `no_grad`, which stops torch's counter."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _copy(counter: FlopCounterMode) -> defaultdict[str, Counter[Any]]:
    """FLOPs so far, by module and operator."""
    return defaultdict(
        Counter, {name: Counter(flops) for name, flops in counter.get_flop_counts().items()}
    )


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object
) -> int:
    """2 FLOPs per multiply-add of queries x keys and of weights x values, each (batch, heads, n, d)."""
    batch, heads, num_queries, dim = query
    return 2 * batch * heads * num_queries * key[2] * (dim + value[3])


# Kernels that torch's counter does not know in every release that we allow; uncounted, attention would be free.
_UNCOUNTED = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    aten._scaled_dot_product_attention_math_for_mps: _attention_flops,
}


class _Watch(TorchFunctionMode):
    """Notes every parameter that a torch function takes, and the FLOPs of attention, whatever kernels it runs.

    Hooks on modules would miss parameters that a forward pass uses without calling their module, as the rows of a
    joint projection.
    """

    def __init__(self, counter: FlopCounterMode):
        super().__init__()
        self.counter = counter
        self.parameters: dict[int, nn.Parameter] = {}
        self.attention: defaultdict[str, Counter[Any]] = defaultdict(Counter)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        is_attention = func is F.scaled_dot_product_attention
        before = _copy(self.counter) if is_attention else defaultdict[str, Counter[Any]](Counter)
        result = func(*args, **(kwargs or {}))
        if is_attention:
            for name, flops in _copy(self.counter).items():
                self.attention[name] += flops - before[name]
        if any(map(_is_tensor, tree_leaves(result))):  # asking for a shape or a device is no use
            for value in tree_leaves((args, kwargs)):
                if isinstance(value, nn.Parameter):
                    self.parameters[id(value)] = value
        return result


class LiveTensors(TorchDispatchMode):
    """Bytes of the tensors that operators have made and that are still alive, and their peak.

    Views and results written into an argument are no new memory; weights and inputs made before do not count. What a
    kernel takes and gives back while it runs is not seen.

    Attributes:
        bytes: Alive now.
        peak: Most alive at once.
    """

    def __init__(self):
        super().__init__()  # pyright: ignore[reportUnknownMemberType]  # untyped in torch
        self.bytes = 0
        self.peak = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        known = {_address(value) for value in tree_leaves((args, kwargs)) if _is_tensor(value)}
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if _is_tensor(value) and _address(value) not in known:
                known.add(_address(value))
                self._watch(value.untyped_storage())
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._release, storage.nbytes()).atexit = False

    def _release(self, size: int) -> None:
        self.bytes -= size


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]  # no public name has it


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Bytes at the peak of a run above what is held before it (weights, input).

    On CUDA torch's own statistics, in which all memory of kernels is seen. Elsewhere `LiveTensors`, which gives the
    same number every time; compiled code cannot be followed there: give the model as it is.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.no_grad(), LiveTensors() as live:
        run()
    return live.peak
