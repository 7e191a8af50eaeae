"""
04-StreamFeatures: the consumers of Pub/Sub's pushes.

- ``consumers``: store events, score them, archive them; each a group at a time
"""
