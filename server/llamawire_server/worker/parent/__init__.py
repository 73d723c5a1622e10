"""The server's side: a `supervisor` keeps a model's worker alive over several `process`es, and a `ticket` carries a
request from one to the next."""
