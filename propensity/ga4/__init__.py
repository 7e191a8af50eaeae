"""
The GA4 export.

- ``view``: the view ``ga_events`` that all statements read, with the columns that use
  cases name, and consent; which daily tables are there, and up to which day a run may
  read
"""
