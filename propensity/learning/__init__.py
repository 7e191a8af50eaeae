"""
Learning: from rows to a model, its metrics, its card and its page.

Read in this order. Nothing here reads or writes outside the process.

- ``task``: what is learned, and within which limits
- ``rows``: the rows of a training, and their parts by time
- ``split``: these parts of users at dates, if the rows are enough
- ``candidates``: from a declaration to a fitted preprocessor and classifier
- ``model``, ``trained``: what a training gives
- ``importance``: which features a model needs
- ``training``: what all trainings do: judge candidates forward in time, fit, measure
- ``users``: a training on users; ``streaming.cards.training`` is the one on events
- ``value``: what buyers pay, beside their probabilities
- ``gate``: whether a new version becomes the champion
- ``season``: how far the odds of all users have moved, and probabilities that follow
- ``effects``: what contacting adds, user by user, from users contacted at random
- ``profile``: how each feature's values lie, and how they go with the label
- ``card``: the card of a version, with its data
- ``report``: a version as an HTML page

It may import ``measures`` and what stands below it, and no settings. Tests:
``tests/propensity/learning``.
"""
