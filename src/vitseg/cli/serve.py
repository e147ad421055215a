"""`vitseg serve`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vitseg.cli import options, places
from vitseg.cli.places import Before

KEYS = "VITSEG_API_KEYS"
"""Environment variable with API keys, separated by commas."""


def _require_models(models: Sequence[str], given: Mapping[str, Any]) -> None:
    from vitseg.serve.names import named_models

    for place in named_models(models).values():
        places.require_predicting_model(Path(place), given)


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Model directories, hf://user/name, or what vitseg export wrote; NAME=MODEL gives one a name, else it "
            "has that of its folder or file. The first is run where a request names none.",
        ),
        Before(_require_models),
    ],
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 is open to others.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    device: options.Device = "auto",
    dtype: options.Dtype = "fp32",
    protocol: options.Protocol = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the models; else as torch chooses.", min=1)
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(help="Seconds for a request; its client may ask for less.", min=0.001),
    ] = 30.0,
    max_requests: Annotated[
        int, typer.Option(help="Requests that are worked on or wait; more get 429.", min=1)
    ] = 64,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.", min=1)] = 32_000_000,
    max_pixels: Annotated[int, typer.Option(help="Pixels of an image.", min=1)] = 50_000_000,
    max_batch: Annotated[
        int, typer.Option(help="Images of one size that are run together.", min=1)
    ] = 4,
    api_keys: Annotated[
        Path | None,
        typer.Option(
            help=f"File with API keys, one a line; one has to come with every request. Or in {KEYS}, separated by "
            "commas."
        ),
    ] = None,
    docs: Annotated[
        bool, typer.Option("--docs", help="Show the description of the interface at /docs.")
    ] = False,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="The page for people at /.")
    ] = True,
    label_studio: Annotated[
        list[str] | None,
        typer.Option(
            help="A Label Studio whose tasks' images may be fetched. Repeatable.",
            metavar="HOST[:PORT]",
        ),
    ] = None,
    label_studio_private: Annotated[
        bool,
        typer.Option(
            "--label-studio-private",
            help="That Label Studio is in a private network, or on this machine.",
        ),
    ] = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="ray: by Ray Serve, on this machine or the cluster of RAY_ADDRESS."),
    ] = "local",
    replicas: Annotated[
        int | None, typer.Option(help="With ray: copies of the models.", min=1)
    ] = None,
    min_replicas: Annotated[
        int | None, typer.Option(help="With ray: copies when little is asked.", min=1)
    ] = None,
    max_replicas: Annotated[
        int | None, typer.Option(help="With ray: copies when much is asked.", min=1)
    ] = None,
) -> None:
    """Serve models over HTTP, with a page to try them.

    POST /v1/segment takes an image and gives its label map; /v2 speaks the Open Inference Protocol; /metrics is for
    Prometheus. SIGTERM and Ctrl-C finish what was accepted. Needs: pip install 'vitseg[serve]';
    --engine ray: 'vitseg[ray]'.
    """
    from vitseg.config import parse
    from vitseg.runtimes.extra import import_extra

    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        import_extra(module, module, "serve")
    require_scale(engine, replicas, min_replicas, max_replicas)
    if engine == "ray":
        from vitseg.serve.ray_environment import prepare

        prepare()
        import_extra("ray.serve", "Ray Serve", "ray")

    from vitseg.serve.engine import LocalEngine
    from vitseg.serve.model_process import ModelProcess
    from vitseg.serve.names import named_models
    from vitseg.serve.places import ModelPlaces
    from vitseg.serve.run import bind
    from vitseg.serve.run import serve as run
    from vitseg.serve.settings import ServeSettings

    settings = parse(
        ServeSettings,
        {
            "timeout": timeout,
            "max_requests": max_requests,
            "max_body": max_body,
            "max_pixels": max_pixels,
            "max_batch": max_batch,
            "api_keys": read_keys(api_keys),
            "shows_docs": docs,
            "shows_page": page,
            "label_studio_hosts": tuple(label_studio or ()),
            "label_studio_private": label_studio_private,
        },
        "serve",
    )
    named = named_models(models)
    listener = bind(host, port)
    address, chosen = listener.getsockname()[:2]
    where = f"[{address}]" if ":" in address else address
    model_places = ModelPlaces(named, device, dtype, tuple(protocol or ()), threads)
    typer.echo(f"loading {', '.join(named)}", err=True)

    def tell() -> None:
        typer.echo(f"serving {', '.join(named)} at http://{where}:{chosen}")

    if engine == "ray":
        from vitseg.serve.ray_app import Scale
        from vitseg.serve.ray_run import run as run_by_ray

        listener.close()  # Ray listens itself
        scale = Scale(min_replicas or replicas or 1, max_replicas or replicas or 1)
        run_by_ray(model_places, settings, scale, address, chosen, tell)
        return
    process = ModelProcess(model_places)
    run(LocalEngine(process, settings.max_batch, settings.batch_wait), settings, listener, tell)


def require_scale(
    engine: str, replicas: int | None, min_replicas: int | None, max_replicas: int | None
) -> None:
    """Raise ConfigError for numbers of replicas that contradict each other or the engine."""
    from vitseg.errors import ConfigError

    bounds = {"--min-replicas": min_replicas, "--max-replicas": max_replicas}
    given = [
        name for name, value in {"--replicas": replicas, **bounds}.items() if value is not None
    ]
    if engine != "ray":
        if given:
            raise ConfigError(
                f"{given[0]} needs --engine ray: there is one copy of the models else."
            )
        return
    if replicas is not None and len(given) > 1:
        raise ConfigError(f"--replicas and {given[1]} contradict each other: give one of them.")
    missing = [name for name, value in bounds.items() if value is None]
    if len(missing) == 1:
        raise ConfigError(f"{given[0]} needs {missing[0]}, too.")
    if min_replicas is not None and max_replicas is not None and min_replicas > max_replicas:
        raise ConfigError(
            f"--min-replicas {min_replicas} is more than --max-replicas {max_replicas}."
        )


def read_keys(file: Path | None) -> tuple[str, ...]:
    """API keys of a file, one a line, and of the environment, where commas part them, too.

    Raises:
        ConfigError: The file cannot be read, or has none.
    """
    from vitseg.errors import ConfigError

    given = re.split(r"[,\r\n]", os.environ.get(KEYS, ""))
    keys = [key.strip() for key in given if key.strip()]
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--api-keys {file} cannot be read: {error}") from error
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not found:
            raise ConfigError(f"--api-keys {file} has no key: write one a line.")
        keys += found
    return tuple(keys)
