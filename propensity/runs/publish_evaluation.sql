-- Publish one run's staged evaluations: replace the rows of their weeks and models.
-- Parameters: @run_id STRING; @staged_on DATE; @use_case STRING; @weeks ARRAY<DATE>;
--   @model_versions ARRAY<INT64>, of the staged rows; @republished ARRAY<DATE>, those of
--   the weeks whose earlier rows are of a publication that was replaced.
-- Source: ma_model_evaluation_staging.
-- Columns are named: those of a table that was mended later are in another order.
-- What was known on the week's end stays, whatever came later.
-- A week has one publication in force, so a row of another one goes, whatever its
-- version; scores of events, which have no as-of date, are of several versions.
-- Provisional figures yield to final ones of the same publication: two runs of different
-- dates share weeks, and the older one may be the last to publish. Such a row is matched,
-- and so neither deleted nor inserted.
-- Version -1 stands for a week without predictions, and goes when some have come.
MERGE
  ma_model_evaluation AS t
USING
  (
    SELECT
      staged.* EXCEPT (
        run_id,
        staged_on,
        provisional_log_odds,
        provisional_standard_error,
        provisional_conversions
      ),
      COALESCE(
        staged.provisional_log_odds, known.provisional_log_odds
      ) AS provisional_log_odds,
      COALESCE(
        staged.provisional_standard_error, known.provisional_standard_error
      ) AS provisional_standard_error,
      COALESCE(
        staged.provisional_conversions, known.provisional_conversions
      ) AS provisional_conversions,
      IF(staged.status = 'provisional', 'final', NULL) AS yields_to
    FROM
      ma_model_evaluation_staging AS staged
    LEFT JOIN
      (
        SELECT
          week,
          model_version,
          provisional_log_odds,
          provisional_standard_error,
          provisional_conversions
        FROM
          ma_model_evaluation
        WHERE
          use_case = @use_case
          AND provisional_log_odds IS NOT NULL
      ) AS known
      ON
        known.week = staged.week
        AND known.model_version = staged.model_version
        AND staged.week NOT IN UNNEST(@republished)
    WHERE
      staged.staged_on = @staged_on
      AND staged.run_id = @run_id
  ) AS s
ON
  t.use_case = s.use_case
  AND t.week = s.week
  AND t.model_version = s.model_version
  AND t.status = s.yields_to
  AND COALESCE(t.prediction_scored_at, TIMESTAMP '1970-01-01 00:00:00+00:00')
    = COALESCE(s.prediction_scored_at, TIMESTAMP '1970-01-01 00:00:00+00:00')
WHEN NOT MATCHED BY SOURCE
  AND t.use_case = @use_case
  AND t.week IN UNNEST(@weeks)
  AND (
    t.model_version = -1
    OR t.model_version IN UNNEST(@model_versions)
    OR t.prediction_as_of IS NOT NULL
  )
THEN
  DELETE
WHEN NOT MATCHED THEN
  INSERT (
    use_case,
    week,
    model_version,
    week_end,
    prediction_as_of,
    prediction_scored_at,
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
    best_threshold,
    best_threshold_source,
    users_at_best,
    true_positives_at_best,
    precision_at_best,
    precision_at_best_low,
    precision_at_best_high,
    recall_at_best,
    recall_at_best_low,
    recall_at_best_high,
    f1_at_best,
    f1_at_best_low,
    f1_at_best_high,
    budget,
    users_at_budget,
    true_positives_at_budget,
    precision_at_budget,
    precision_at_budget_low,
    precision_at_budget_high,
    recall_at_budget,
    recall_at_budget_low,
    recall_at_budget_high,
    f1_at_budget,
    f1_at_budget_low,
    f1_at_budget_high,
    lift_at_budget,
    lift_at_budget_low,
    lift_at_budget_high,
    thresholds,
    log_odds_shift,
    residual_log_odds,
    residual_standard_error,
    provisional_log_odds,
    provisional_standard_error,
    provisional_conversions,
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
    value_promised,
    value_observed,
    unscored_converters,
    unknown_outcomes,
    conflicting_outcomes,
    bytes_billed
  )
  VALUES (
    s.use_case,
    s.week,
    s.model_version,
    s.week_end,
    s.prediction_as_of,
    s.prediction_scored_at,
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
    s.best_threshold,
    s.best_threshold_source,
    s.users_at_best,
    s.true_positives_at_best,
    s.precision_at_best,
    s.precision_at_best_low,
    s.precision_at_best_high,
    s.recall_at_best,
    s.recall_at_best_low,
    s.recall_at_best_high,
    s.f1_at_best,
    s.f1_at_best_low,
    s.f1_at_best_high,
    s.budget,
    s.users_at_budget,
    s.true_positives_at_budget,
    s.precision_at_budget,
    s.precision_at_budget_low,
    s.precision_at_budget_high,
    s.recall_at_budget,
    s.recall_at_budget_low,
    s.recall_at_budget_high,
    s.f1_at_budget,
    s.f1_at_budget_low,
    s.f1_at_budget_high,
    s.lift_at_budget,
    s.lift_at_budget_low,
    s.lift_at_budget_high,
    s.thresholds,
    s.log_odds_shift,
    s.residual_log_odds,
    s.residual_standard_error,
    s.provisional_log_odds,
    s.provisional_standard_error,
    s.provisional_conversions,
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
    s.value_promised,
    s.value_observed,
    s.unscored_converters,
    s.unknown_outcomes,
    s.conflicting_outcomes,
    s.bytes_billed
  );
