"""
Models: from features to scores.

Read in this order. Arrays in, arrays out.

- ``scoring``: batches to probabilities by a preprocessor and a model, in bounded memory
- ``encoder``: a fitted preprocessor on Arrow batches
- ``encoding``: features as a frame, floats or texts, out of Arrow columns; types of
  arrays
- ``value``: what a buyer pays; ``effect``: what contacting a user adds, ``groups``: to
  which groups of users
- ``half_space_trees``: an anomaly detector that learns row by row, as a classifier

It may import the ground alone: pickles name its modules, so they stay. Tests:
``tests/propensity/models``.
"""
