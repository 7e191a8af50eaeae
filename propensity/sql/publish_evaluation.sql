-- Publish one run's staged evaluations: replace the rows of their weeks and models.
-- Parameters: @run_id STRING; @staged_on DATE; @use_case STRING; @weeks ARRAY<DATE>;
--   @model_versions ARRAY<INT64>, of the staged rows.
-- Source: ma_model_evaluation_staging.
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
  INSERT ROW
