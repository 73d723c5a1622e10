"""The worker's side, a process of its own: one model and one thread.

The `desk` takes requests from an `intake`, has `generations` and `embeddings` compute them, and puts what came of
them into an `outbox`.
"""
