"""Continuous batching over one model: sequences, the scheduler, and the runner that computes.

The engine knows tokens, not text. Everything here but `runner` is plain Python that is tested without a model;
`runner` is the only place that touches llama.cpp.
"""
