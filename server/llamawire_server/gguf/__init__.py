"""What a GGUF file says about its model, read from its header without loading it."""
