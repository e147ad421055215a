"""The command line takes every command of the documents: its verb, its options and their values, its overrides."""

from __future__ import annotations

import pytest
import typer.main

from tests.docs.pages import DOCUMENTS, ROOT, commands, name_of, vitseg_words
from vitseg.cli.app import app
from vitseg.errors import ConfigError
from vitseg.studies.continual.recipe import load_continual
from vitseg.training.recipe import load_recipe

WITH_COMMANDS = [path for path in DOCUMENTS if any(map(vitseg_words, commands(path)))]
WITH_OVERRIDES = {"continual", "train", "reproduce"}


@pytest.fixture(scope="module")
def command_line():
    return typer.main.get_command(app)


def parsed(command, words):
    """Verb and parameters, as the command would get them.

    Raises:
        Exception: The command's own, for an unknown verb or option, a wrong or a missing value.
    """
    verb = ()
    while words and words[0] in getattr(command, "commands", ()):
        command, verb, words = command.commands[words[0]], (*verb, words[0]), words[1:]
    assert verb, f"no verb: {words}"
    if hasattr(command, "commands"):  # a group that does something by itself, as recipes
        assert not words or words[0].startswith("-"), f"no verb of {verb}: {words}"
    return verb, command.make_context(verb[-1], list(words)).params


@pytest.mark.parametrize("document", WITH_COMMANDS, ids=name_of)
def test_the_command_line_takes_the_commands(document, command_line):
    for command in commands(document):
        words = vitseg_words(command)
        if words:
            parsed(command_line, words)


@pytest.mark.parametrize("document", WITH_COMMANDS, ids=name_of)
def test_recipes_take_the_overrides(document, command_line):
    for command in commands(document):
        words = vitseg_words(command)
        if not words or words[0] not in WITH_OVERRIDES:
            continue
        verb, values = parsed(command_line, words)
        recipe = str(values["recipe"])
        if not is_shipped(recipe):  # the reader's own, or data
            continue
        load = load_continual if verb == ("continual",) else load_recipe
        load(ROOT / recipe if recipe.endswith(".yaml") else recipe, values["overrides"] or ())


def is_shipped(recipe: str) -> bool:
    if recipe.endswith(".yaml"):
        return (ROOT / recipe).is_file()
    return (ROOT / "recipes" / f"{recipe}.yaml").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["predicts", "runs/mine"], "no verb"),
        (["data", "look", "folder:ROOT"], "no verb of"),
        (["predict", "runs/mine", "a.jpg"], "out"),
        (["predict", "runs/mine", "a.jpg", "--out", "out", "--tile"], "--tile"),
        (["export", "runs/mine", "--out", "a.tf", "--format", "tf"], "tf"),
    ],
)
def test_what_is_wrong_is_not_taken(command_line, words, says):
    with pytest.raises(Exception, match=says):
        parsed(command_line, words)


def test_a_wrong_override_is_not_taken():
    with pytest.raises(ConfigError, match="lrr"):
        load_recipe("camvid/segvit-vit_tiny", ["optimizer.lrr=1"])
