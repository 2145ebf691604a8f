"""A dataset in, examples to train on and a held-out suite to judge by out.

Questions are made from the documents themselves: headings, signatures, definitions and other
sentences whose words are the answer. `build` holds the whole way from documents to examples and
is pure; `stage` reads and writes. Read `build.py` first.
"""
