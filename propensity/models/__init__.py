"""
Models: from features to scores.

Read in this order. Arrays in, arrays out; ``scoring`` uses all others.

- ``scoring``: preprocessor, model and batches to probabilities, in bounded memory
- ``refusals``: what is wrong with rows that a model refuses
- ``encoding``: features as a frame, floats or texts, out of Arrow columns
- ``encoder``, ``encoder_parts``: a fitted preprocessor on Arrow batches
- ``value``: what a buyer pays, and what a user is worth
- ``half_space_trees``: an anomaly detector that learns row by row
- ``forest``: its trees: leaves of rows, and masses of nodes
- ``limits``: its limits of features and the draw of thresholds
- ``anomaly``: the detector as a classifier
"""
