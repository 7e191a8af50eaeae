-- Publish one run's staged evaluations: replace the rows of their weeks and models.
-- Parameters: @run_id STRING; @staged_on DATE; @use_case STRING; @weeks ARRAY<DATE>;
--   @model_versions ARRAY<INT64>, of the staged rows.
-- Source: ma_model_evaluation_staging.
-- Columns are named: those of a table that was mended later are in another order.
-- Version -1 stands for a week without predictions, and goes when some have come.
MERGE
  ma_model_evaluation AS t
USING
  (
    SELECT
      * EXCEPT (run_id, staged_on)
    FROM
      ma_model_evaluation_staging
    WHERE
      staged_on = @staged_on
      AND run_id = @run_id
  ) AS s
ON
  FALSE
WHEN NOT MATCHED BY SOURCE
  AND t.use_case = @use_case
  AND t.week IN UNNEST(@weeks)
  AND (t.model_version = -1 OR t.model_version IN UNNEST(@model_versions))
THEN
  DELETE
WHEN NOT MATCHED THEN
  INSERT (
    use_case,
    week,
    model_version,
    week_end,
    prediction_as_of,
    status,
    outcome,
    evaluated_at,
    data_until,
    users,
    conversions,
    base_rate,
    mean_probability,
    threshold,
    true_positives,
    true_negatives,
    false_positives,
    false_negatives,
    precision,
    precision_low,
    precision_high,
    recall,
    recall_low,
    recall_high,
    f1,
    f1_low,
    f1_high,
    roc_auc,
    roc_auc_low,
    roc_auc_high,
    pr_auc,
    pr_auc_low,
    pr_auc_high,
    brier,
    brier_low,
    brier_high,
    log_loss,
    log_loss_low,
    log_loss_high,
    calibration_error,
    calibration_error_low,
    calibration_error_high,
    lift,
    review_cost,
    alert_threshold,
    alerted,
    alerted_conversions,
    cost,
    cost_without,
    saved,
    saved_low,
    saved_high,
    saved_share,
    unscored_converters,
    unknown_outcomes,
    conflicting_outcomes,
    is_shadow,
    bytes_billed
  )
  VALUES (
    s.use_case,
    s.week,
    s.model_version,
    s.week_end,
    s.prediction_as_of,
    s.status,
    s.outcome,
    s.evaluated_at,
    s.data_until,
    s.users,
    s.conversions,
    s.base_rate,
    s.mean_probability,
    s.threshold,
    s.true_positives,
    s.true_negatives,
    s.false_positives,
    s.false_negatives,
    s.precision,
    s.precision_low,
    s.precision_high,
    s.recall,
    s.recall_low,
    s.recall_high,
    s.f1,
    s.f1_low,
    s.f1_high,
    s.roc_auc,
    s.roc_auc_low,
    s.roc_auc_high,
    s.pr_auc,
    s.pr_auc_low,
    s.pr_auc_high,
    s.brier,
    s.brier_low,
    s.brier_high,
    s.log_loss,
    s.log_loss_low,
    s.log_loss_high,
    s.calibration_error,
    s.calibration_error_low,
    s.calibration_error_high,
    s.lift,
    s.review_cost,
    s.alert_threshold,
    s.alerted,
    s.alerted_conversions,
    s.cost,
    s.cost_without,
    s.saved,
    s.saved_low,
    s.saved_high,
    s.saved_share,
    s.unscored_converters,
    s.unknown_outcomes,
    s.conflicting_outcomes,
    s.is_shadow,
    s.bytes_billed
  );
