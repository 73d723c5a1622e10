"""OpenAI's HTTP API in front of a `Service`: translation and nothing else."""
