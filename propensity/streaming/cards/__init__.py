"""
Events that are scored one by one, such as payments that may be fraud.

Read in this order. But for ``training_steps`` and ``evaluate_days``, nothing here reads
or writes outside the process.

- ``training_steps``: what 00-ModelTraining does with events; begin here
- ``dataset``: the rows of a training, from what was scored and became known
- ``alerts``: which events are alerts, and what these save
- ``trained``: what a training on events has beyond one on users
- ``split``, ``trees``, ``training``: such a training
- ``card``: the card of a version
- ``evaluate_days``: days of events that 03-ModelEvaluation evaluates
"""
