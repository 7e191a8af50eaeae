-- Part of the view ga_events: the column of one value that a use case names, as a
-- floating number. What is no number, not a number or infinite, is null.
  (
    SELECT
      MAX(
        COALESCE(
          p.value.double_value,
          p.value.float_value,
          CAST(p.value.int_value AS FLOAT64),
          SAFE_CAST(p.value.string_value AS FLOAT64)
        )
      )
    FROM
      UNNEST(`record`) AS p
    WHERE
      p.key = `key`
      AND ABS(
        COALESCE(
          p.value.double_value,
          p.value.float_value,
          CAST(p.value.int_value AS FLOAT64),
          SAFE_CAST(p.value.string_value AS FLOAT64)
        )
      ) <= 1.7976931348623157e308
  ) AS `column`,
