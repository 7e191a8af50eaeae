-- Part of the view ga_events: the column of one value that a use case names.
  (
    SELECT MAX(
`value`
      )
    FROM UNNEST(`record`) AS p WHERE p.key = `key`
  ) AS `column`,
