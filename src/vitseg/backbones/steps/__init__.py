"""What happens to the tokens at a depth of a plain ViT, one kind of step a file."""
