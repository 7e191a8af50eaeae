-- Part of the view ga_events: the column of one value that a use case names, as a whole
-- number. What is no number, or out of range, is null.
  (
    SELECT
      MAX(
        COALESCE(
          p.value.int_value,
          SAFE_CAST(p.value.double_value AS INT64),
          SAFE_CAST(p.value.float_value AS INT64),
          SAFE_CAST(SAFE_CAST(p.value.string_value AS NUMERIC) AS INT64)
        )
      )
    FROM
      UNNEST(`record`) AS p
    WHERE
      p.key = `key`
  ) AS `column`,
