"""The world in, raw documents out: files, folders, web sites, the documentation inside Python.

Sources (`sources.SOURCES`) give `Collected` documents and refusals; readers (`readers.READERS`)
turn content of each media type into text; the stage keeps the table ``raw`` equal to what the
sources hold now, with every payload sealed and a reason for everything that was not taken. Read
`stage.py` first, then `documents.py`.
"""

from undercroft.collect.documents import Collected, Gathering, Source, Unchanged, document_id

__all__ = ["Collected", "Gathering", "Source", "Unchanged", "document_id"]
