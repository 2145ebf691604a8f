"""A dataset in; an embedding model and an index of its passages out.

`distil` makes the static embedding model once, `index` cuts the dataset's kept and masked
documents into chunks and makes them searchable. The work itself is in `undercroft.retrieve`; read
`stage.py` first.
"""
