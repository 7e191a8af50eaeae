"""
Models: what turns features into a score.

Read in this order. Arrays in, arrays out; ``scoring`` is where the others meet.

- ``scoring``: preprocessor, model and batches to probabilities, in bounded memory
- ``encoding``: features as a frame, floats or texts, out of Arrow columns
- ``encoder``, ``encoder_parts``: batches to the arrays that a preprocessor makes
- ``shortcuts``: few rows through a model without scikit-learn's overhead
- ``half_space_trees``: a detector of anomalies that learns a row at a time
- ``forest``: its trees: rows down to leaves, and the mass that came through
- ``limits``: where its thresholds are drawn
- ``anomaly``: that detector as a classifier
"""
