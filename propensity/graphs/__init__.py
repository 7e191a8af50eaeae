"""
Graphs: a fitted preprocessor and model as one ONNX graph, which BigQuery runs.

Read in this order. Features in, the probability out, in double precision.

- ``export``: preprocessor and model to the bytes of ``model.onnx``
- ``columns``, ``categories``: a preprocessor as columns of a graph
- ``trees``: boosted trees and forests, and the search of a number among others
- ``builder``: nodes and constants of a graph; what it cannot hold
- ``parity``: whether a graph gives the scorer's probabilities
- ``checked``: a graph that equals its model on held-out rows, or why there is none
- ``sql``: the statements that score in BigQuery, by a graph or by the scorer's own code
"""
