"""`vitseg doctor`."""

from __future__ import annotations

from importlib import metadata, util

from vitseg.cli import frame
from vitseg.machine import memory_at_hand, memory_total, num_cores


def doctor() -> None:
    """Print versions, devices, memory, and what is missing for each extra."""
    import torch
    from rich.table import Table

    from vitseg.checkpoint.versions import package_versions
    from vitseg.inference.precision import has_bf16

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, version in package_versions().items():
        table.add_row(name, version)
    table.add_row("cpu", f"{num_cores()} cores, {torch.get_num_threads()} torch threads")
    has_it = has_bf16(torch.device("cpu"))
    table.add_row("", f"{'with' if has_it else 'without'} instructions for bf16")
    table.add_row("memory", _memory())
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            table.add_row(f"cuda:{index}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB")
    else:
        table.add_row("cuda", "none (training and prediction run on the CPU)")
    if torch.backends.mps.is_available():
        table.add_row("mps", "available")
    for extra, missing in missing_by_extra().items():
        hint = (
            f"missing {', '.join(missing)}: pip install 'vitseg\\[{extra}]'"
            if missing
            else "complete"
        )
        table.add_row(f"\\[{extra}]", hint)
    frame.show(table)


def missing_by_extra() -> dict[str, list[str]]:
    """Requirements of each extra of the installed package that are not installed."""
    from packaging.requirements import Requirement

    requirements = [Requirement(text) for text in metadata.requires("vitseg") or []]
    extras = sorted(metadata.metadata("vitseg").get_all("Provides-Extra") or [])
    missing: dict[str, list[str]] = {}
    for extra in extras:
        needed = [
            r.name
            for r in requirements
            if r.marker
            and not r.marker.evaluate({"extra": ""})
            and r.marker.evaluate({"extra": extra})
        ]
        missing[extra] = [name for name in needed if not _installed(name)]
    return missing


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return util.find_spec(package.replace("-", "_")) is not None
    return True


def _memory() -> str:
    total, at_hand = memory_total(), memory_at_hand()
    if total is None:
        return "unknown on this system"
    free = "" if at_hand is None else f", {at_hand / 2**30:.1f} GiB at hand"
    return f"{total / 2**30:.1f} GiB{free}"
