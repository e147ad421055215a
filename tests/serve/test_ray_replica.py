"""A replica of the models, without Ray around it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from tests.serve import light
from vitseg.errors import VitsegError
from vitseg.serve.places import ModelPlaces
from vitseg.serve.settings import ServeSettings

pytest.importorskip("ray.serve")
from vitseg.serve.ray_app import Models, Switch


class Handle:
    """A switch as Ray hands it to a replica."""

    def __init__(self):
        self.own = Switch()

    def __getattr__(self, name):
        return SimpleNamespace(remote=getattr(self.own, name))


async def replica(places, switch):
    one = Models.__new__(Models)
    await one.__init__(places, ServeSettings(), switch)
    return one


def test_replicas_have_the_models_of_the_first(monkeypatch, tmp_path):
    light.replace(monkeypatch)
    file = tmp_path / "model.txt"
    file.write_text("first")
    places, switch = ModelPlaces({"m": str(file)}, "cpu"), Handle()

    async def scenario():
        every = [await replica(places, switch), await replica(places, switch)]
        file.write_text("second")
        with pytest.raises(VitsegError, match=r"model\.txt changed since the server started"):
            await replica(places, switch)
        assert "model.txt changed" in await switch.own.failure()
        for one in every:
            await one.check_health()
        every[0]._engine.fault = "exchanged"
        with pytest.raises(RuntimeError, match="exchanged"):
            await every[0].check_health()
        for one in every:
            await one._engine.stop()

    asyncio.run(scenario())
