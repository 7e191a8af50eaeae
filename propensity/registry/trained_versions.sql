-- One row per recorded version of some: how it was trained and what it achieved.
-- Parameters: @use_case STRING; @model_versions ARRAY<INT64>, those of interest.
SELECT * FROM ma_model_training_metadata
WHERE
  use_case = @use_case
  AND model_version IN UNNEST(@model_versions)
