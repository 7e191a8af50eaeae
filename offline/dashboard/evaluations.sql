-- One row per evaluated week, or day of events, and model version, newest first.
-- Parameters: @since DATE and @until DATE, both included; outcomes that were over by then.
SELECT
  * EXCEPT (metrics),
  JSON_QUERY(metrics, '$.categories') AS categories,
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
  CAST(JSON_VALUE(metrics, '$.cost_without') AS NUMERIC) AS cost_without,
  CAST(JSON_VALUE(metrics, '$.purchases') AS INT64) AS purchases,
  CAST(JSON_VALUE(metrics, '$.purchases_without_id') AS INT64) AS purchases_without_id,
  CAST(JSON_VALUE(metrics, '$.revenue') AS NUMERIC) AS revenue,
  CAST(JSON_VALUE(metrics, '$.revenue_without_id') AS NUMERIC) AS revenue_without_id
FROM ma_model_evaluation
WHERE
  week BETWEEN @since AND @until
  AND COALESCE(week_end, week) <= @until
ORDER BY use_case, week DESC, model_version DESC
