"""llama.cpp behind the engine's `Runner`. Nothing outside this folder imports llama_cpp."""
