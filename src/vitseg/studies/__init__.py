"""A wing beside the product: what compares models and reproduces studies. Nothing but the command line imports it."""
