-- Part of a statement: for both kinds of users the last bucket whose rows are read.
-- Parameters: @maximum_rows INT64.
-- Source: ``buckets``, the rows of each kind by bucket. They are tens of thousands,
--   whatever the rows, so that the running sums are small.
-- The error of what tells two classes apart falls with the smaller of the two: King and
-- Zeng, "Logistic Regression in Rare Events Data", Political Analysis 9, 2001. That is
-- label 1, of which only one kind of users has rows, and of label 0 as well: three
-- quarters are theirs where both kinds have more than their part.
  cuts AS (
    SELECT
      has_positive,
      MAX(
        IF(
          running <= GREATEST(
            DIV(@maximum_rows * IF(has_positive, 3, 1), 4),
            @maximum_rows - others
          ),
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
