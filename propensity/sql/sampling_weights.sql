-- Part of a statement: the weight of a row, by date, kind of user and class.
-- Source: ``cells``, how many rows there are of each, and how many are read.
-- Where none of a cell's rows is read, its class's others stand for it, too, so that the
-- weights of a class always add up to its rows.
  weights AS (
    SELECT
      as_of,
      has_positive,
      class,
      last_bucket,
      row_count
      / NULLIF(kept, 0)
      * (
        SUM(row_count) OVER (PARTITION BY class)
        / NULLIF(SUM(IF(kept > 0, row_count, 0)) OVER (PARTITION BY class), 0)
      ) AS weight
    FROM
      cells
  )
