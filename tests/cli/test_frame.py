from __future__ import annotations

import inspect
import math
import signal

import pytest
import typer

from vitseg.cli import frame
from vitseg.errors import ConfigError, InterruptedRunError


def ended(verb, capsys) -> tuple[int, str]:
    with pytest.raises(typer.Exit) as stopped:
        frame.framed(verb)()
    return stopped.value.exit_code, capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_ends_with_its_message_and_the_signal(capsys, number, code):
    def verb():
        with frame.kept("Steps are kept."):
            raise InterruptedRunError("stopped at 3.", number)

    assert ended(verb, capsys) == (code, "stopped at 3. Steps are kept.\n")


def test_ctrl_c_ends_any_verb_with_one_line(capsys):
    def verb():
        raise KeyboardInterrupt

    def continued():
        with frame.kept("Run it again."):
            raise KeyboardInterrupt

    assert ended(verb, capsys) == (130, "Interrupted.\n")
    assert ended(continued, capsys) == (130, "Interrupted. Run it again.\n")


def test_other_errors_pass_the_frame():
    def verb(number: int = 0):
        with frame.kept("nothing"):
            raise ConfigError("wrong")

    assert inspect.signature(frame.framed(verb)) == inspect.signature(verb)
    with pytest.raises(ConfigError, match="wrong") as error:
        frame.framed(verb)()
    assert not hasattr(error.value, "__notes__")


def test_percent():
    assert frame.percent(0.12345) == "12.35"
    assert frame.percent(0.5, digits=0) == "50"
    assert frame.percent(math.nan) == frame.percent(None) == "-"
    assert frame.percent(None, unknown="–") == "–"


def test_messages_are_printed_as_they_are_on_stderr(capsys):
    line = "[red]no markup[/red] " + "long " * 60 + "line"
    frame.say(line)
    out, err = capsys.readouterr()
    assert not out
    assert err == line + "\n"


def test_a_bar_is_silent_where_there_is_no_terminal(capsys):
    with frame.bar("work", 3) as advance:
        advance()
        advance(2)
    assert capsys.readouterr() == ("", "")


def test_a_place_for_a_file_is_checked(tmp_path):
    frame.require_place("--json", None)
    frame.require_place("--json", tmp_path / "new.json")
    with pytest.raises(ConfigError, match=r"^--json .*none does not exist"):
        frame.require_place("--json", tmp_path / "none" / "new.json")
    with pytest.raises(ConfigError, match="is a folder: give the file to write"):
        frame.require_place("--json", tmp_path)
