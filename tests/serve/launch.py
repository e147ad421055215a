"""`python -m tests.serve.launch JSON`: a server in a process of its own, with settings that the command does not have."""

from __future__ import annotations

import json
import logging
import sys

from tests.serve import faulty
from vitseg.serve import model_process, run
from vitseg.serve.engine import LocalEngine
from vitseg.serve.model_process import ModelProcess
from vitseg.serve.settings import ServeSettings


def main() -> None:
    asked = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO)
    settings = ServeSettings(**{"shows_page": False, **asked.get("settings", {})})
    model_process._serve = faulty.serve
    places = faulty.FaultyPlaces(asked["models"], "cpu", threads=1, record=asked["record"])
    process = ModelProcess(places)
    engine = LocalEngine(process, settings.max_batch, settings.batch_wait)
    listener = run.bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    print("loading", flush=True)
    run.serve(engine, settings, listener, lambda: print(f"ready {port} {process.pid}", flush=True))
    print("ended", flush=True)


if __name__ == "__main__":
    main()
