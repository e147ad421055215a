"""`python -m vitseg.cli`: the `vitseg` command."""

from vitseg.cli.main import run

if __name__ == "__main__":
    run()
