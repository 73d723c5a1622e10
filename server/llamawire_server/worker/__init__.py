"""The process boundary: one worker process per loaded model.

What crosses it is here: `messages`, in the frames of `wire`. `parent` is the server's side, `child` the worker's.
They know nothing of each other but this.
"""
