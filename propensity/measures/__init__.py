"""
Measures of scores: pure functions on arrays, for trainings and for evaluations.

- ``metrics``: of scores and their outcomes
- ``metric_intervals``: the 95% intervals of these; ``intervals``: of rates
- ``statistic``: what a group of users did, as a value that adds up and is compared
- ``revenue``: of expected amounts and what was paid; ``money``: sums, exactly
- ``thresholds``: metrics from a threshold on, and of a budget
- ``drift``: what differs from the training of the model that scores
- ``uplift``: what treated users did, against those held out; ``gain``: what that is in
  all; ``power``: what can be shown of it before; ``looks``: how far intervals reach at
  a weekly look, and how many are left; ``verdicts``: what can be said, in words
- ``presence``: active users and customers who were away, each measured

It may import ``models``, ``tables`` and ``pages``. Tests:
``tests/propensity/measures``.
"""
