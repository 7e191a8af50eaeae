"""
Learning: from rows to a model, its metrics, its card and its page.

Read in this order. Nothing here reads or writes outside the process.

- ``rows``: the rows of a training, split by time, if they are enough
- ``candidates``: from a declaration to a fitted preprocessor and classifier
- ``trained``: what a training gives, and which features a model needs
- ``fit``: judge candidates forward in time, fit, measure, and fit again on all rows
- ``value``: what buyers pay, beside their probabilities
- ``gate``: whether a new version becomes the champion
- ``season``: how far the odds of all users have moved, and probabilities that follow
- ``card``: the record of a version: row, card, its data set, files
- ``report``: a version, or a week, as an HTML page
"""
