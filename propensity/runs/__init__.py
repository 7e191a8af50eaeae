"""
Scheduled runs: 00, 01, 03 and the compaction of 04.

- ``run``: a run's lease, its answer and its log line; ``request``: what it reads
  of a request
- ``export``: wait for the days of the export that a run reads; ``sources``: look at
  the tables of the user's own before they are read
- ``champion``: the version that serves, or served at an earlier date
- ``train``: the steps of 00-ModelTraining
- ``predict``: the steps of 01-Predictions
- ``drift``: what differs from the training, and what outcomes say of it
- ``index``: the prediction index
- ``evaluate``: the steps of 03-ModelEvaluation
- ``lift``: what acting on audiences was worth; ``report``, its last step: a page for
  each week
- ``thresholds``: the threshold that was best on the weeks before
- ``compact``: sums of the stream's days, Parquet of closed days, the view of features
- ``ages``: how old what is published is, for the alerts
- ``setup``: the dataset with its tables and views
"""
