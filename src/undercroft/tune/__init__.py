"""A model in several formats, an engine in several ways -> what is best on this machine.

`candidates` says what is tried, `fidelity` how true a smaller model is to its parent, `speed` how
fast prompts are read and answers written, `choice` which one to take, and `chart` shows them all.
"""
