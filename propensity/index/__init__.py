"""
The prediction index: a user's newest prediction by a keyed hash of the id, in one file.

01-Predictions builds it of the current table, 02-GetProba answers from it without a
query. No edge: arrays in, bytes out.

- ``layout``: the bytes of the file, and the hash
- ``reader``: finds a user, in the whole file or in one block of it; plain Python, since
  02-GetProba has no numpy
- ``build``: makes the file of Arrow batches
"""
