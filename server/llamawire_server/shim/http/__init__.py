"""What every API of the shim needs of HTTP: bodies, failures, streams, hang-ups, the description."""
