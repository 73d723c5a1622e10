"""OpenAI's list of models."""
