"""Which models there are: the names that they answer to, the files behind these, and the settings they run with."""
