"""Undercroft: one governed system for everything that stands behind an AI assistant.

Read `records` for the words, `loop` for the whole road from documents to answers, and `stage`
for what every step on that road has in common.
"""

__version__ = "0.1.0"
