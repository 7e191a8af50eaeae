-- Part of the view ga_events: the column of one value that a use case names, as an exact
-- decimal. What is no number, or out of range, is null.
  (
    SELECT
      MAX(
        COALESCE(
          SAFE_CAST(p.value.int_value AS NUMERIC),
          SAFE_CAST(p.value.double_value AS NUMERIC),
          SAFE_CAST(p.value.float_value AS NUMERIC),
          SAFE_CAST(p.value.string_value AS NUMERIC)
        )
      )
    FROM
      UNNEST(`record`) AS p
    WHERE
      p.key = `key`
  ) AS `column`,
