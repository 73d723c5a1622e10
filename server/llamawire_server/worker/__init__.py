"""The process boundary: one worker process per loaded model.

`messages` and `wire` are what crosses it. The parent's side: a `supervisor` keeps a model's worker alive over several
`process`es, and a `ticket` carries a request from one to the next. The worker's side: the `child`'s `desk` takes
requests from an `intake`, has `generations` compute them, and puts what came of them into an `outbox`.
"""
