"""
The GA4 export: the view ``ga_events`` that all statements read, and its days.

- ``view``: the text of the view, with the columns that use cases name, and consent
- ``days``: which daily tables are there, and up to which day a run may read
"""
