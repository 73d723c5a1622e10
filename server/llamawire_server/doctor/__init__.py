"""Whether this machine and this build of llama.cpp work together, and what to mend where they don't.

Everything here runs on the standard library alone: the set-up uses it before anything is installed.
"""
