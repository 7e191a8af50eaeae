-- One row per user: features as the view has them now.
-- Parameters: @use_case STRING.
-- Source: view stream_features.
SELECT *
FROM stream_features
WHERE use_case = @use_case
