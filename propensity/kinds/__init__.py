"""
What a run does with the rows of its use case, users or events.

Runs of users load nothing of events, and an evaluation nothing of trainings.

- ``training``: the steps of a training
- ``evaluation``: weeks, or days, that are evaluated

It may import ``runs``, ``streaming`` and what stands below them. Tests:
``tests/functions``.
"""
