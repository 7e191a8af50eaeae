"""
Scheduled runs: 00, 01, 03 and 05; ``streaming`` has those of events.

- ``run``: a run's request, its lease, its answer and its log line
- ``export``: wait for the days of the export that a run reads; ``export_age``: how old
  it is
- ``digest``: its next step: the days that the export has anew, as rows of users;
  ``digest_state``: which these are
- ``snapshots``: rows of users with their outcomes; ``reading``: what reads them
- ``train``: the steps of 00-ModelTraining, with ``training_steps`` of users;
  ``model_files``: what a version stores
- ``predict``: the steps of 01-Predictions
- ``categories``: categories of users, stored by predictions and then evaluated
- ``evaluate``: the steps of 03-ModelEvaluation, for ``evaluate_weeks`` of users;
  ``evaluation`` has what days of events need as well
- ``uplifts``: its step after that: what acting on audiences was worth
- ``report``: its last step: a page for each week
- ``audiences``: the steps of 05-Audiences
- ``late``: when a run is late
- ``setup``: the dataset with its tables and views

It may import ``audience``, ``weeks``, ``registry`` and what stands below them. Tests:
``tests/propensity/runs``, ``tests/functions``.
"""
