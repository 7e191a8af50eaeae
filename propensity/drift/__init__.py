"""
Drift: what has changed in the users that are scored.

Read in this order. Pure: batches and sketches in, alarms out.

- ``sketch``: a publication's values, counted: a few numbers for each feature
- ``distance``: how far a sketch is from earlier ones, beyond chance and habit
- ``level``: the same for single numbers, such as the mean probability
- ``sentences``: what has changed in a sketch, in words
- ``alarms``: what is an alarm, and its cause
"""
