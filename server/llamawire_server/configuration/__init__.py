"""What the server is told: defaults, a YAML file, the environment and the command line, in one `ServerConfig`."""
