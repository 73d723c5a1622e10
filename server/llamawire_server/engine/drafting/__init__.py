"""Guessing what comes next, from text that repeats or with a smaller model, as far as it pays."""
