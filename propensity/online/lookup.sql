-- One row per user asked for that has a prediction; users without one have no row.
-- Parameters: @use_case STRING; @user_ids ARRAY<STRING>, 1 to 1,000, each once.
-- include: current_predictions.sql
  AND user_id IN UNNEST(@user_ids)
