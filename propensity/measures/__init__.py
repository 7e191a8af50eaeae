"""
Measures of scores: pure functions on arrays, for trainings and for evaluations.

- ``metrics``: of scores and their outcomes
- ``intervals``: the 95% intervals of these
- ``statistic``: what a group of users did, as a value that adds up and is compared
- ``revenue``: of expected amounts and what was paid
- ``thresholds``: metrics from a threshold on, and of a budget
- ``drift``: what differs from the training of the model that scores
- ``uplift``: what treated users did, against those held out; ``power``: what can be
  shown of that, before and meanwhile; ``verdicts``: what can be said, in words
- ``presence``: active users and customers who were away, each measured

It may import ``models``, ``tables`` and ``pages``. Tests:
``tests/propensity/measures``.
"""
