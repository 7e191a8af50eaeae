"""
Learning: from rows to a model, its figures, its card and its report.

Read in this order. Nothing here reads or writes outside the process.

- ``data``: the rows of a training, split by time; ``event_features``: those of events;
  ``sufficient``: whether they are enough
- ``preprocessor``: from features to numbers
- ``fit``: choose, calibrate, measure, and fit again on all rows
- ``rolling``: candidates on blocks of weeks; ``recipe``: what follows, and its fits;
  ``sample``: the rows that a fit reads
- ``candidates``: from a declaration to a fitted classifier; ``trees``: Half-Space
  Trees, which need no label
- ``calibration``: from scores to probabilities
- ``importance``: which features a model needs
- ``decile``: what the users with the highest probabilities have in common
- ``metrics``: figures of scores; ``bootstrap``: their 95% intervals
- ``thresholds``: figures from a threshold on, and of the best of a budget
- ``season``: how far the odds of all users have moved, and probabilities that follow
- ``cost``: what alerts cost and save; ``of_events``: models chosen and judged by it
- ``value``: what users are worth, beside their probabilities; ``amounts``: what buyers
  paid
- ``lift``: treated users against a control group;
  ``campaign``: the same of an audience, week by week
- ``gate``: whether a new version becomes the champion
- ``portable``: a version as one scikit-learn estimator, for notebooks
- ``modelcard``: the record of a version: row, card, files
- ``description``: the figures of a data set
- ``report``: a card as an HTML page
"""
