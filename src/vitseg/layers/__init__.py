"""The bricks: layers that more than one part of the package uses."""
