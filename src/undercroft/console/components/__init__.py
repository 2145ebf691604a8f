"""The pieces pages are built from: plain data in, escaped markup out; no reading, no state.

Start with `frame` (what stands around every page) and `table` (what most pages are made of).
"""
