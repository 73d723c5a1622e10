"""Vectors of texts: which tokens of whose inputs the next batch computes. Knows tokens and no llama.cpp."""
