"""`/v1/embeddings`: texts as vectors, as OpenAI's API has it."""
