-- Record whether a version was promoted, and by which comparison: another champion may
-- have come between the first comparison and the promotion.
-- Parameters: @use_case STRING; @training_date DATE; @model_version INT64;
--   @promoted BOOL; @verdict STRING; @compared_version INT64, -1 for none; @is_compared
--   BOOL, whether the champion could be scored; @has_interval BOOL; @roc_auc,
--   @roc_auc_low and @roc_auc_high FLOAT64, the difference; @has_level BOOL and
--   @level_difference FLOAT64, whether there is one.
UPDATE
  ma_model_training_metadata
SET
  promoted = @promoted,
  verdict = @verdict,
  compared_version = NULLIF(@compared_version, -1),
  roc_auc_difference = IF(@is_compared, @roc_auc, NULL),
  roc_auc_difference_low = IF(@has_interval, @roc_auc_low, NULL),
  roc_auc_difference_high = IF(@has_interval, @roc_auc_high, NULL),
  level_difference = IF(@has_level, @level_difference, NULL)
WHERE
  use_case = @use_case
  AND training_date = @training_date
  AND model_version = @model_version
