"""Which models there are: GGUF files, the names they answer to, and the settings they run with."""
