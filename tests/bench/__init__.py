"""llamawire against llama.cpp itself and its servers: `make bench`."""
