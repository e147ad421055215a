"""Make of a DToP model with exits the one that table 5.8's rows start from: a single exit, behind another block.

    python _move_exit.py BASE OUT --behind 8

The exit keeps the parameters of the base model's exit nearest to it; the backbone and the last head stay as they are.
`training.init_from=OUT` then starts a training with `backbone.taps=[8,11]` and a symmetric rule.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from vitseg.checkpoint.model_dir import load_model, save_model
from vitseg.methods import METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--behind", type=int, required=True)
    options = parser.parse_args()
    trained, record = load_model(options.base)
    architecture = dict(record.architecture)
    *exits, last = architecture["backbone"]["taps"]
    nearest = min(range(len(exits)), key=lambda number: abs(exits[number] - options.behind))
    state = {}
    for name, value in trained.state_dict().items():
        match = re.match(r"decoder\.exits\.(\d+)\.(.+)", name)
        if match is None:
            state[name] = value
        elif int(match[1]) == nearest:
            state[f"decoder.exits.0.{match[2]}"] = value
    architecture["backbone"] = {**architecture["backbone"], "taps": [options.behind, last]}
    method = METHODS[record.method]
    config = method.model_validate(architecture)
    model = config.build(len(record.classes.names), record.image_size, load_pretrained=False)
    model.load_state_dict(state)
    save_model(options.out, model, record.model_copy(update={"architecture": architecture}))


if __name__ == "__main__":
    main()
