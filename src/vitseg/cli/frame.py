"""The frame of a verb: what all commands do around their own work."""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from vitseg.cli import interrupts
from vitseg.errors import ConfigError, InterruptedRunError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress

_debugging = False


def add_verb(app: typer.Typer, module: str, name: str = "") -> None:
    """Make a function a command, with the frame around it.

    Args:
        app: What gets the command.
        module: Name of its file in this folder.
        name: Name of the function and of the command; the module's where not given.
    """
    found = importlib.import_module(f"vitseg.cli.{module}")
    app.command()(framed(getattr(found, name or module)))


def framed(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, ended by Ctrl-C or SIGTERM with one line and 128 + the signal's number.

    Before it the places that it is given are looked at.
    """

    @functools.wraps(verb)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            from vitseg.cli.places import require_places

            with interrupts.Raised():
                require_places(verb, options)
                verb(*arguments, **options)
        except InterruptedRunError as stopped:
            _end(str(stopped), stopped, 128 + stopped.signal_number)
        except KeyboardInterrupt as stopped:
            _end(interrupts.LINE, stopped, interrupts.INTERRUPTED)
        except (
            EOFError
        ) as error:  # typer would take it for the end of the user's answers, and say "Aborted!"
            raise RuntimeError("something ended before it was complete") from error

    return run


def _end(line: str, stopped: BaseException, code: int) -> NoReturn:
    typer.echo(" ".join([line, *getattr(stopped, "__notes__", ())]), err=True)
    raise typer.Exit(code) from stopped


def set_debugging(value: bool) -> None:
    """Say whether errors are shown with their tracebacks (`--debug`)."""
    global _debugging
    _debugging = value


def is_debugging() -> bool:
    """Whether errors are shown with their tracebacks."""
    return _debugging


@contextlib.contextmanager
def kept(note: str) -> Iterator[None]:
    """Within it, an interruption is told with a note on what is kept of the work, or how it goes on."""
    try:
        yield
    except (InterruptedRunError, KeyboardInterrupt) as stopped:
        stopped.add_note(note)
        raise


@functools.cache
def messages() -> Console:
    """The console of messages and progress, on stderr."""
    from rich.console import Console

    return Console(stderr=True, emoji=False)  # a folder may be named so that it reads ":car:"


def say(line: str, style: str | None = None) -> None:
    """Print a message as it is, above a progress bar."""
    messages().print(line, style=style, soft_wrap=True, highlight=False, markup=False)


def show(*results: RenderableType) -> None:
    """Print tables or texts of rich on stdout."""
    from rich.console import Console

    for result in results:
        Console(emoji=False).print(result)


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Bars on the terminal, gone at the end; nothing where stderr is no terminal."""
    from rich.progress import Progress

    console = messages()
    bars = Progress(console=console, transient=True, disable=not console.is_terminal)
    # Before its release 14.3 rich ends bars that nobody sees with an empty line.
    with bars if console.is_terminal else contextlib.nullcontext():
        yield bars


@contextlib.contextmanager
def bar(name: str, total: int | None) -> Iterator[Callable[..., None]]:
    """One such bar; gives what to call after each piece of work, with a number for several.

    Args:
        name: What is done.
        total: Pieces of work; None: unknown.
    """
    with progress() as bars:
        yield functools.partial(bars.advance, bars.add_task(name, total=total))


def percent(value: float | None, digits: int = 2, unknown: str = "-") -> str:
    """A share in percent, without the sign.

    Args:
        value: The share, in [0, 1]; None or NaN: unknown.
        digits: Digits behind the point.
        unknown: What stands for an unknown one.
    """
    return unknown if value is None or math.isnan(value) else f"{100 * value:.{digits}f}"


def require_place(option: str, file: Path | None) -> None:
    """Before long work: whether a file can be written where it is wanted.

    Args:
        option: Option that names the file.
        file: The file; None: none is wanted.

    Raises:
        ConfigError: Its folder does not exist or cannot be written, or it is a folder itself.
    """
    if file is None:
        return
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"{option} {file}: the folder {file.absolute().parent} does not exist.")
    if file.is_dir():
        raise ConfigError(f"{option} {file} is a folder: give the file to write.")
    from vitseg.claims import require_writable

    require_writable(file, option)
