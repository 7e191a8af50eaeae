"""
Learning: from rows to a model, its figures, its card and its page.

Read in this order. Nothing here reads or writes outside the process.

- ``data``: the rows of a training, of users or of events, split by time
- ``preprocessor``: from features as they came to numbers
- ``fit``: fit the candidates, choose, calibrate and measure
- ``calibration``: from scores to probabilities
- ``importance``: which features a model needs
- ``metrics``: what scores were worth; ``bootstrap``: the same with 95% intervals
- ``gate``: whether a new version becomes the champion
- ``modelcard``: what is recorded of a version: row, card, files
- ``description``: the data set of a card in figures
- ``report``: a card as a page
"""
