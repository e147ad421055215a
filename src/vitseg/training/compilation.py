"""`training.compile`: the training step through torch.compile, in place."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn

from vitseg.backbones import PlainViT
from vitseg.backbones.steps.exit import Exit
from vitseg.backbones.steps.shrink import Shrink
from vitseg.errors import ConfigError, first_line

Backend = Literal["inductor", "aot_eager", "eager"]

_CAPTURES = {
    # masks of the classes that a batch has: their number is known only from its labels
    "capture_dynamic_output_shape_ops": True,
    "capture_scalar_outputs": True,
}

_HOW = {
    # EoMT's blocks need no masks any more one after the other, which is a new graph each time
    "recompile_limit": 32,
    # gradients are summed behind the whole backward pass: packets would cut the graph
    "optimize_ddp": False,
}


def compile_step(
    step: nn.Module, device: torch.device, backend: Backend = "inductor", whole: bool = False
) -> None:
    """Compile a training step in place: names of parameters stay, and so do what holds it and what it holds.

    What cannot be compiled runs as it is, between graphs; see `found_breaks`. Random numbers follow from torch's seed
    as before, but are others than those of the uncompiled step where `backend` is inductor.

    Args:
        step: The module that gives the loss terms.
        device: Where it is to run.
        backend: What makes code of the graphs; the others are for tests.
        whole: Whether a break is an error.

    Raises:
        ConfigError: There is no compiler; the first call raises it, too, where the compiler fails.
    """
    if backend == "inductor":
        require_compiler(device)
    torch._dynamo.utils.counters.clear()
    step.compile(backend=backend, fullgraph=whole)
    call = step._compiled_call_impl
    assert call is not None
    how = _HOW if _packs_tokens(step) else {**_HOW, **_CAPTURES}
    step._compiled_call_impl = torch._dynamo.config.patch(**how)(_with_clear_errors(call))


def _packs_tokens(step: nn.Module) -> bool:
    """Whether tokens leave on the way, and images are packed: by their values, which no graph can hold."""
    backbones = [part for part in step.modules() if isinstance(part, PlainViT)]
    steps = [each for backbone in backbones for own in backbone.steps for each in own]
    return any(isinstance(each, Exit | Shrink) for each in steps)


def found_breaks() -> Counter[str]:
    """Why graphs had to end since the last `compile_step`, with how often each."""
    return Counter(torch._dynamo.utils.counters["graph_break"])


def found_graphs() -> int:
    """Graphs that were compiled since the last `compile_step`."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def compiled_line() -> str:
    """What to tell the user behind the first step."""
    breaks = found_breaks()
    if not breaks:
        return "compiled: the training step is one graph"
    reason = first_line(ValueError(breaks.most_common(1)[0][0]))
    return (
        f"compiled: {found_graphs()} graphs with {breaks.total()} breaks between them, where this method runs "
        f"uncompiled (such as: {reason})"
    )


def require_compiler(device: torch.device) -> None:
    """Raise ConfigError unless the machine has what torch.compile makes code with."""
    if device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as error:
            raise ConfigError(
                "training.compile needs a C++ compiler, and there is none here: install g++ (or name another in the "
                "variable CXX), or leave training.compile out."
            ) from error
        return
    from torch.utils._triton import has_triton

    if not has_triton() or not any(map(shutil.which, ("cc", "gcc", "clang"))):
        raise ConfigError(
            "training.compile needs Triton and a C compiler for this device, and they are not here: install triton "
            "and gcc, or leave training.compile out."
        )


def _with_clear_errors(call: Callable[..., Any]) -> Callable[..., Any]:
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except (TorchDynamoException, CppCompileError, InvalidCxxCompiler) as error:
            raise ConfigError(
                f"torch.compile cannot compile this training ({first_line(error)}): leave training.compile out."
            ) from error

    return run
