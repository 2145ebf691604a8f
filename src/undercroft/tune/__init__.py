"""A model in several formats, an engine in several ways -> what is best on this machine.

`search` says what is tried, `points` measures candidates in turns, `fidelity` tells how true a
smaller model is to its parent, `speed` how fast prompts are read and answers written, and `chart`
shows them all.
"""
