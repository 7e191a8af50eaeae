-- Record that versions were promoted whose training was cut off before it could: they
-- serve, or have served.
-- Parameters: @use_case STRING; @served ARRAY<INT64>, versions that the pointer names.
-- Writes: ma_model_training_metadata. A verdict that is known stays.
UPDATE
  ma_model_training_metadata
SET
  promoted = TRUE,
  verdict = CONCAT('it has served all the same; ', verdict)
WHERE
  use_case = @use_case
  AND model_version IN UNNEST(@served)
  AND promoted IS NULL
