"""
Events that are scored one by one, such as payments that may be fraud: their trainings,
their alerts, and what these save.
"""
