"""
Drift: what has changed in the users that are scored, and what it costs.

Read in this order. Pure: batches and sketches in, alarms and estimates out.

- ``sketch``: a publication's values, counted: a few numbers for each feature
- ``distance``: how far a sketch is from earlier ones, beyond chance and habit
- ``level``: the same for single numbers, such as the mean probability
- ``estimate``: the ROC AUC of probabilities whose outcomes are not known yet
- ``sentences``: what has changed in a sketch, in words
- ``learned``: changes that a training knows, which are alarms no more
- ``alarms``: what is an alarm, its cause and what to do
"""
