"""The process boundary: one worker process per loaded model.

`messages` and `wire` are what crosses it, `process` is the parent's side, `child` and `generations` the worker's.
"""
