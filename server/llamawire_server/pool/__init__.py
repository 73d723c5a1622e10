"""The loaded models: the memory that they share, the line of those who wait, and everybody who watches."""
