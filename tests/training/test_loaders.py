"""A process that loads samples and is killed is named as what it is."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest

from tests.tiny import tiny_recipe, write_dataset
from vitseg.errors import VitsegError
from vitseg.training.display import Display
from vitseg.training.loaders import killed_loaders
from vitseg.training.loop import train
from vitseg.training.recipe import parse_recipe

TOLD = r"a process that loads samples was killed, .* fewer data\.num_workers than 3\. .* --resume"
KILLED = RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. ")
BUS = RuntimeError("DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that")
EXITED = RuntimeError("DataLoader worker (pid(s) 12) exited unexpectedly")
RESET, ENDED = ConnectionResetError(104, "Connection reset by peer"), EOFError()
ITS_OWN = "Caught {} in DataLoader worker process 0.\nOriginal Traceback"


@pytest.mark.parametrize("error", [KILLED, BUS, EXITED, RESET, ENDED])
def test_its_loss_is_told_however_it_is_seen(error):
    with pytest.raises(VitsegError, match=TOLD), killed_loaders(3, is_loading=True):
        raise error


@pytest.mark.parametrize("error", [KILLED, EXITED])
def test_torch_may_say_it_in_the_middle_of_a_step(error):
    with pytest.raises(VitsegError, match=TOLD), killed_loaders(3):
        raise error


@pytest.mark.parametrize(
    ("error", "num_workers", "is_loading"),
    [
        (RESET, 3, False),  # a logger's server
        (RESET, 0, True),  # where the images are
        (ConnectionResetError(ITS_OWN.format("ConnectionResetError")), 3, True),
        (RuntimeError(ITS_OWN.format("RuntimeError")), 3, True),
        (RuntimeError("shapes do not fit"), 3, True),
    ],
)
def test_other_errors_stay_what_they_are(error, num_workers, is_loading):
    with pytest.raises(type(error)) as raised, killed_loaders(num_workers, is_loading):
        raise error
    assert raised.value is error


class _Killing(Display):
    """Kills what loads samples behind the second step."""

    def step(self, iteration, *facts):
        if iteration == 2:
            for process in multiprocessing.active_children():
                os.kill(process.pid or 0, signal.SIGKILL)
        return super().step(iteration, *facts)


def test_a_training_whose_loader_is_killed_says_so(tmp_path):
    raw = tiny_recipe(iterations=50, val_interval=50, save_interval=1)
    raw["data"] |= {"source": f"folder:{write_dataset(tmp_path / 'data')}", "num_workers": 1}
    recipe, out = parse_recipe(raw), tmp_path / "run"
    with pytest.raises(VitsegError, match=r"samples was killed, .* data\.num_workers than 1"):
        train(recipe, out, display=_Killing(quiet=True))
    assert (out / "state.ckpt").is_file()
