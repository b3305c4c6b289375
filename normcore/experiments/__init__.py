"""One file an experiment: a function that returns its measurements, and one that draws them."""
