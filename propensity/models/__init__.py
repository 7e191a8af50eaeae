"""
Models: from features to scores.

Read in this order. Arrays in, arrays out.

- ``scoring``: batches to probabilities, and to what a buyer pays, in bounded memory
- ``encoder``: a fitted preprocessor on Arrow batches
- ``encoding``: features as a frame, floats or texts, out of Arrow columns; types of
  arrays
- ``half_space_trees``: an anomaly detector that learns row by row, as a classifier
- ``value``: the former place of a class, for files of older versions
"""
