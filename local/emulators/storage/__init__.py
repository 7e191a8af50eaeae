"""Cloud Storage on this machine: ``gcp-storage-emulator``, with preconditions.

server.py  HTTP: reads a request whole, runs it alone, answers
wire.py    bodies in chunks and in parts, ranges of bytes
store.py   objects and generations; conditions, whole writes, kept versions
paths.py   a file for each name
objects.py what requests for an object do where the package leaves something out
listing.py pages of objects
"""
