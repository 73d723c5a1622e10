"""llama-server's paths for text and tokens: /tokenize, /detokenize, /apply-template."""
