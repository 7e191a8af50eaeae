-- At most one row: the preprocessor that was uploaded last.
-- Parameters: @use_case STRING.
SELECT object, sha256, is_default
FROM ma_preprocessors
WHERE use_case = @use_case
ORDER BY uploaded_at DESC
LIMIT 1
