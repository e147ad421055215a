"""`vitseg data check`: what is wrong with a data set, found before training."""
