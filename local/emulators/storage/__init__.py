"""Cloud Storage on this machine: ``gcp-storage-emulator``, with preconditions.

server.py  HTTP: reads a request whole, runs it alone, answers
wire.py    bodies in chunks, ranges of bytes
store.py   objects and generations; conditions, whole writes, kept versions
"""
