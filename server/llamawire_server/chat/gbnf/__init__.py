"""Grammars in GBNF, llama.cpp's own language: every text that one derives may come, and nothing else.

llguidance, which enforces them, reads a text lexeme by lexeme, each as long as can be. GBNF has no lexemes: what is
put together to one is chosen so that it makes no difference.
"""
