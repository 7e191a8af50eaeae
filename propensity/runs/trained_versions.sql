-- One row per model version: what its training measured on rows held out.
-- Parameters: @use_case STRING; @model_versions ARRAY<INT64>, those of interest.
-- Source: ma_model_training_metadata.
SELECT * EXCEPT (card)
FROM ma_model_training_metadata
WHERE
  use_case = @use_case
  AND model_version IN UNNEST(@model_versions)
