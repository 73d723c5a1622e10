"""What was computed, and is there for the next that begins alike: in the KV cache, and on the shelf beside it."""
