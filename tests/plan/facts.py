"""Facts for tests of what follows from them."""

from __future__ import annotations

from typing import Any

from vitseg.plan.data_facts import ClassFacts, DataFacts
from vitseg.plan.device_facts import DeviceFacts
from vitseg.plan.vits import Vit

CPU = DeviceFacts("cpu", "CPU", 8 * 2**30, 2, False)
GPU = DeviceFacts("cuda", "a GPU", 24 * 2**30, 16, True)
TINY = Vit("vit_tiny_patch16_224", 12, 192, 16, None, False, "")


def make_data(
    size: tuple[int, int] = (360, 480), narrowest: float | None = 20.0, **fields: Any
) -> DataFacts:
    """A survey of a hundred images of one size and two classes."""
    classes = (
        ClassFacts("road", 0.9, 9_000_000, 100, 100.0),
        ClassFacts("pole", 0.1, 1_000_000, 80, narrowest),
    )
    values: dict[str, Any] = {
        "num_train": 100,
        "num_val": 20,
        "num_unpaired": 0,
        "sizes": (size,) * 100,
        "num_deep": 0,
        "classes": classes,
        "num_counted": 100,
        "ignored": 0.0,
    }
    return DataFacts(**values | fields)
