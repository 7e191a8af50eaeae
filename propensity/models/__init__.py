"""
Models: what turns features into a score.

Read in this order. Arrays in, arrays out; ``scoring`` is where the others meet.

- ``scoring``: preprocessor, model and batches to probabilities, in bounded memory
- ``encoding``: batches to the arrays that a preprocessor would make of them
- ``shortcuts``: few rows through a model without scikit-learn's overhead
- ``half_space_trees``: a detector of anomalies that learns a row at a time
- ``anomaly``: that detector as a classifier
"""
