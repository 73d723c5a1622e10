"""OpenAI's Responses API, translated onto chat completions."""
