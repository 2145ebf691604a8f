"""What each page knows: a project in, plain frozen data out; no markup, no network but the gateway.

One module per kind of page, one reading function per page. Lists are read one page at a time.
"""
