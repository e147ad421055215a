"""Models as other programs call them."""
