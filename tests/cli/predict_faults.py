"""`python -m tests.cli.predict_faults predict ...`: the command with workers that fail on images of certain names.

`dies` ends its worker each time, `dies_once` the first time; each image takes a moment, so that there is a half-way.
What the workers begin is told in a file beside `--out`.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from vitseg.cli import main
from vitseg.serve.ray_environment import prepare

prepare()  # before Ray is imported
from vitseg.cli import predict_ray  # noqa: E402
from vitseg.cli.predict_worker import Worker  # noqa: E402

BEGUN = "begun.txt"
SECONDS = 0.1


class FaultyWorker(Worker):
    def _answer(self, target: Any, content: Any) -> Any:
        folder = Path(self._job.folder, self._job.out).parent
        with (folder / BEGUN).open("a") as file:
            file.write(f"{os.getpid()} {target.name}\n")
        return super()._answer(target, content)

    def _load(self) -> Any:
        writer = super()._load()
        write, folder = writer._whole, Path(self._job.folder, self._job.out).parent

        def failing(segmentation: Any, target: Any, run: str) -> Any:
            time.sleep(SECONDS)
            first = folder / f"{target.name}.once"
            if target.name == "dies" or (target.name == "dies_once" and not first.exists()):
                first.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return write(segmentation, target, run)

        writer._whole = failing
        return writer


if __name__ == "__main__":
    predict_ray.Worker = FaultyWorker
    main.run()
