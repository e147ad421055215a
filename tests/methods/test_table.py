"""The table of methods: what is in it, and that it imports nothing before it is asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vitseg.methods import METHODS
from vitseg.methods.fcn import FcnConfig
from vitseg.methods.method import MethodConfig


@pytest.mark.parametrize("name", METHODS)
def test_every_entry_is_a_configuration_that_knows_its_name(name):
    cls = METHODS[name]
    assert issubclass(cls, MethodConfig)
    assert cls.__module__.startswith("vitseg.methods.")
    assert METHODS.name_of(cls) == name


def test_names_are_sorted_and_no_two_share_a_configuration():
    assert list(METHODS) == sorted(METHODS)
    assert len({METHODS[name] for name in METHODS}) == len(METHODS)


def test_what_is_not_there_is_a_key_error():
    assert "fcn" in METHODS
    assert METHODS["fcn"] is FcnConfig
    assert "no_such_method" not in METHODS
    with pytest.raises(KeyError):
        METHODS["no_such_method"]


def test_the_table_imports_no_method():
    code = "import sys, vitseg.methods; print([m for m in sys.modules if m.startswith('vitseg.methods.')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['vitseg.methods.table']"
