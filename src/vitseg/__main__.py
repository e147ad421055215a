"""`python -m vitseg`, where the command is not on the path."""

from __future__ import annotations

from vitseg.cli.main import run

if __name__ == "__main__":
    run()
