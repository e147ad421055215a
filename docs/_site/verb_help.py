"""The directive `verb`, with the words of a command (`data check`): what it takes, as its `--help` prints it."""

from __future__ import annotations

from typing import Any

import typer.main
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from vitseg.cli.app import app as command_line

WIDTH = 100


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("verb", Verb)
    return {"parallel_read_safe": True}


def help_of(words: list[str]) -> str:
    """The help of a command, by its words."""
    command: Any = typer.main.get_command(command_line)
    for word in words:
        command = command.commands[word]
    settings = {"terminal_width": WIDTH, "max_content_width": WIDTH, "resilient_parsing": True}
    context = command.make_context(" ".join(["vitseg", *words]), [], **settings)
    return command.get_help(context)


class Verb(SphinxDirective):
    """A command's help."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        text = help_of(self.arguments)
        return [nodes.literal_block(text, text, language="none")]
