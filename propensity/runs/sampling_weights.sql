-- Part of a statement: by date, kind of user and class the last bucket whose rows are read,
-- and the weight of one of these rows.
-- Parameters: @maximum_rows INT64.
-- Source: ``buckets``, how many rows there are of each (has_positive, bucket, as_of,
--   class). It is read once: each of these steps reads the one before alone.
-- The error of what tells two classes apart falls with the smaller of them: King and Zeng,
-- "Logistic Regression in Rare Events Data", Political Analysis 9, 2001. That is label 1,
-- of which only one kind of users has rows, and of label 0 as well: three quarters of the
-- rows are theirs, and what one kind does not need goes to the other.
-- A row stands for the rows of its date, its kind of user and its class that were left
-- out: of every date, weighted counts of both labels are the true ones. Where none of
-- these is read, the others of the class stand for them, too. Without a row left out all
-- weights are 1.
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
      (
        SELECT
          as_of,
          has_positive,
          class,
          last_bucket,
          SUM(row_count) AS row_count,
          SUM(IF(bucket <= last_bucket, row_count, 0)) AS kept
        FROM
          (
            SELECT
              *,
              MAX(
                IF(
                  running <= GREATEST(
                    DIV(@maximum_rows * IF(has_positive, 3, 1), 4),
                    @maximum_rows - (whole - own)
                  ),
                  bucket,
                  -1
                )
              ) OVER (PARTITION BY has_positive) AS last_bucket
            FROM
              (
                SELECT
                  *,
                  SUM(row_count) OVER (
                    PARTITION BY has_positive
                    ORDER BY bucket
                    RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
                  ) AS running,
                  SUM(row_count) OVER (PARTITION BY has_positive) AS own,
                  SUM(row_count) OVER () AS whole
                FROM
                  buckets
              )
          )
        GROUP BY
          as_of,
          has_positive,
          class,
          last_bucket
      )
  )
