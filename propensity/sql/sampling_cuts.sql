-- Part of a statement: for both kinds of users the last bucket whose rows are read.
-- Parameters: @maximum_rows INT64.
-- Source: ``buckets``, the rows of each kind by bucket. They are tens of thousands,
--   whatever the rows, so that the running sums are small.
-- Half and half, since the error of what tells two classes apart falls with the smaller
-- of the two: King and Zeng, "Logistic Regression in Rare Events Data", Political
-- Analysis 9, 2001.
  cuts AS (
    SELECT
      has_positive,
      MAX(
        IF(
          running <= GREATEST(DIV(@maximum_rows, 2), @maximum_rows - others),
          bucket,
          -1
        )
      ) AS last_bucket
    FROM
      (
        SELECT
          has_positive,
          bucket,
          SUM(row_count) OVER (PARTITION BY has_positive ORDER BY bucket) AS running,
          SUM(row_count) OVER ()
          - SUM(row_count) OVER (PARTITION BY has_positive) AS others
        FROM
          buckets
      )
    GROUP BY
      has_positive
  )
