-- Record whether a version was promoted, and by which comparison: another champion may
-- have come between the first comparison and the promotion.
-- Parameters: @use_case STRING; @training_date DATE; @model_version INT64;
--   @promoted BOOL; @verdict STRING; @compared_version INT64, -1 for none; @is_compared
--   BOOL, whether the champion could be scored; @has_log_loss BOOL, whether both gave probabilities;
--   @has_pr_auc and @has_cost BOOL, of models of events; @roc_auc, @log_loss, @pr_auc
--   and @cost ARRAY<FLOAT64>, each estimate, low and high; @has_level BOOL and
--   @level_difference FLOAT64, whether there is one.
UPDATE
  ma_model_training_metadata
SET
  promoted = @promoted,
  verdict = @verdict,
  compared_version = NULLIF(@compared_version, -1),
  roc_auc_difference = IF(@is_compared, @roc_auc[OFFSET(0)], NULL),
  roc_auc_difference_low = IF(@is_compared, @roc_auc[OFFSET(1)], NULL),
  roc_auc_difference_high = IF(@is_compared, @roc_auc[OFFSET(2)], NULL),
  log_loss_difference = IF(@has_log_loss, @log_loss[OFFSET(0)], NULL),
  log_loss_difference_low = IF(@has_log_loss, @log_loss[OFFSET(1)], NULL),
  log_loss_difference_high = IF(@has_log_loss, @log_loss[OFFSET(2)], NULL),
  level_difference = IF(@has_level, @level_difference, NULL),
  pr_auc_difference = IF(@has_pr_auc, @pr_auc[OFFSET(0)], NULL),
  pr_auc_difference_low = IF(@has_pr_auc, @pr_auc[OFFSET(1)], NULL),
  pr_auc_difference_high = IF(@has_pr_auc, @pr_auc[OFFSET(2)], NULL),
  cost_difference = IF(@has_cost, CAST(@cost[OFFSET(0)] AS NUMERIC), NULL),
  cost_difference_low = IF(@has_cost, CAST(@cost[OFFSET(1)] AS NUMERIC), NULL),
  cost_difference_high = IF(@has_cost, CAST(@cost[OFFSET(2)] AS NUMERIC), NULL)
WHERE
  use_case = @use_case
  AND training_date = @training_date
  AND model_version = @model_version
