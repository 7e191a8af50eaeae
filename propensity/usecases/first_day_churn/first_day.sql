-- One row: the day of the first registration, null without any.
-- Source: view stream_features, which reads a row for each user, and not every event.
SELECT
  DATE(MIN(registration_time)) AS first_day
FROM
  stream_features
WHERE
  use_case = 'first_day_churn'
