-- statement: evaluations
-- One row per evaluated week, or day of events, and model version, newest first.
-- Parameters: @since DATE and @until DATE, both included; outcomes that were over by then.
SELECT
  * EXCEPT (metrics),
  CAST(JSON_VALUE(metrics, '$.residual_log_odds') AS FLOAT64) AS residual_log_odds,
  CAST(JSON_VALUE(metrics, '$.residual_standard_error') AS FLOAT64)
    AS residual_standard_error,
  CAST(JSON_VALUE(metrics, '$.pr_auc_low') AS FLOAT64) AS pr_auc_low,
  CAST(JSON_VALUE(metrics, '$.pr_auc_high') AS FLOAT64) AS pr_auc_high,
  CAST(JSON_VALUE(metrics, '$.value_error_low') AS FLOAT64) AS value_error_low,
  CAST(JSON_VALUE(metrics, '$.value_error_high') AS FLOAT64) AS value_error_high,
  CAST(JSON_VALUE(metrics, '$.value_error') AS FLOAT64) AS value_error,
  CAST(JSON_VALUE(metrics, '$.value_gini') AS FLOAT64) AS value_gini,
  CAST(JSON_VALUE(metrics, '$.value_top_share') AS FLOAT64) AS value_top_share,
  CAST(JSON_VALUE(metrics, '$.alerted') AS INT64) AS alerted,
  CAST(JSON_VALUE(metrics, '$.alerted_conversions') AS INT64) AS alerted_conversions,
  CAST(JSON_VALUE(metrics, '$.cost') AS NUMERIC) AS cost,
  CAST(JSON_VALUE(metrics, '$.cost_without') AS NUMERIC) AS cost_without
FROM ma_model_evaluation
WHERE
  week BETWEEN @since AND @until
  AND COALESCE(week_end, week) <= @until
ORDER BY use_case, week DESC, model_version DESC

-- statement: versions
-- One row per model version that was trained for a day of a span, newest first. One of
-- a past day may be trained later.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  model_version,
  COALESCE(as_of, training_date) AS as_of,
  algorithm,
  roc_auc,
  roc_auc_low,
  roc_auc_high,
  log_loss,
  promoted,
  verdict
FROM ma_model_training_metadata
WHERE
  training_date >= @since
  AND COALESCE(as_of, training_date) <= @until
ORDER BY use_case, model_version DESC

-- statement: publications
-- One row per publication of probabilities, newest first.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  as_of,
  model_version,
  users,
  value_promised
FROM ma_publications
WHERE as_of BETWEEN @since AND @until
ORDER BY use_case, as_of DESC

-- statement: drift
-- One row per publication and feature, and one of the scores with their distribution,
-- beside the training of the model: newest first, those that moved most first.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  as_of,
  kind,
  name,
  psi,
  bound,
  IF(kind = 'score', bins, NULL) AS bins,
  is_alarm,
  cause,
  message
FROM ma_drift
WHERE as_of BETWEEN @since AND @until
ORDER BY use_case, as_of DESC, psi DESC, name

-- statement: dead_letters
-- One row per reason, the most frequent first: messages that became dead letters, each
-- once.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  reason,
  COUNT(DISTINCT message_id) AS messages
FROM dead_letters
WHERE received_on BETWEEN @since AND @until
GROUP BY reason
ORDER BY messages DESC, reason

-- statement: audiences
-- One row per audience and as-of date, newest first: how members were chosen, how many.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  audience,
  as_of,
  MIN(selection) AS selection,
  MIN(control_share) AS control_share,
  COUNT(*) AS members,
  COUNTIF(is_control) AS held_out
FROM ma_audience_members
WHERE as_of BETWEEN @since AND @until
GROUP BY use_case, audience, as_of
ORDER BY as_of DESC, use_case, audience

-- statement: plans
-- One row per audience: its newest plan, of what it may bring and what it can prove.
-- Parameters: @since DATE and @until DATE, both included.
SELECT *
FROM ma_audience_plans
WHERE
  as_of BETWEEN @since AND @until
QUALIFY
  ROW_NUMBER() OVER (PARTITION BY use_case, audience ORDER BY as_of DESC) = 1
ORDER BY use_case, audience

-- statement: deliveries
-- One row per audience, destination, as-of date and action, newest first: users by
-- status. Those of whom the receiver says later what became are not pending: no one has
-- to act. Reasons are left out: a receiver's words may name a user.
-- Parameters: @since DATE and @until DATE, both included.
SELECT
  use_case,
  audience,
  destination,
  as_of,
  action,
  COUNTIF(status = 'accepted') AS accepted,
  COUNTIF(status = 'rejected') AS rejected,
  COUNTIF(status = 'pending' AND receipt IS NULL) AS pending
FROM ma_audience_ledger
WHERE as_of BETWEEN @since AND @until
GROUP BY use_case, audience, destination, as_of, action
ORDER BY as_of DESC, use_case, audience, destination, action

-- statement: lift
-- One row per audience and week, newest first: what those treated did more than those
-- held out, of all users up to that week.
-- Parameters: @since DATE and @until DATE, both included; outcomes that were over by then.
SELECT * EXCEPT (sums)
FROM ma_audience_lift
WHERE
  week BETWEEN @since AND @until
  AND COALESCE(week_end, week) <= @until
ORDER BY use_case, audience, week DESC
