"""``/v1/responses``: the same path as chat, in another envelope, and answers that can be kept.

In comes a body (`asking`, which makes an `Ask` of it like any other), out go a response object or
its events (`envelope`). `shelf` keeps responses, sealed for the person they were written for;
`endpoints` has what can be done with them: read, continue, cancel, delete.
"""
