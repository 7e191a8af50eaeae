-- Part of a statement: at most @maximum_rows rows of ``labelled``, each with its weight.
-- Parameters: @maximum_rows INT64.
-- ``labelled`` has label (0, 1 or null), sampled_by and is_quiet: rows of one sampled_by, a
-- user, are all read or all left out, by a hash, so that a rerun reads the same ones.
-- The error of what tells two classes apart falls with the smaller of them: King and Zeng,
-- "Logistic Regression in Rare Events Data", Political Analysis 9, 2001. So three quarters
-- of the rows are of users with a row of label 1, who have rows of label 0 as well. What
-- one kind of users does not need goes to the other.
-- Quiet rows, of customers who were away, are many and teach little. Below the maximum,
-- too, of those of users without label 1 at most five are read for each quiet row of label
-- 1, or 5,000 where that is more. Beyond it, beside others, a fifth are quiet.
-- A row weighs as many rows of its kind as it stands for; without a row left out, 1.
-- A bucket is the fourth root of the hash's share of its range: however few of however
-- many users are read, the last bucket holds about a hundredth of them at most.
  marked AS (
    SELECT
      *,
      COALESCE(MAX(label) OVER (PARTITION BY sampled_by), 0) = 1 AS has_positive,
      CAST(
        FLOOR(
          8192 * SQRT(SQRT(0.5 + FARM_FINGERPRINT(sampled_by) / 1.8446744073709552e19))
        ) AS INT64
      ) AS bucket
    FROM labelled
  ),
  buckets AS (
    SELECT
      has_positive,
      is_quiet,
      bucket,
      COUNT(*) AS n_rows,
      SUM(COUNT(*)) OVER (
        PARTITION BY has_positive, is_quiet
        ORDER BY bucket
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
      ) AS so_far,
      SUM(COUNT(*)) OVER (PARTITION BY has_positive, is_quiet) AS own,
      SUM(COUNTIF(label = 1)) OVER (PARTITION BY is_quiet) AS positives
    FROM marked
    GROUP BY has_positive, is_quiet, bucket
  ),
  needed_buckets AS (
    SELECT
      *,
      SUM(n_rows) OVER (PARTITION BY has_positive, is_quiet) AS needed,
      SUM(n_rows) OVER (PARTITION BY has_positive) AS same_label,
      SUM(n_rows) OVER () AS whole
    FROM buckets
    WHERE has_positive OR NOT is_quiet OR so_far <= GREATEST(5 * positives, 5000)
  ),
  limits AS (
    SELECT
      *,
      GREATEST(
        @maximum_rows * IF(has_positive, 0.75, 0.25),
        @maximum_rows - (whole - same_label)
      ) AS allowed
    FROM needed_buckets
  ),
  kinds AS (
    SELECT
      has_positive,
      is_quiet,
      MAX(bucket) AS last_bucket,
      MAX(own) / MAX(so_far) AS weight
    FROM limits
    WHERE so_far <= GREATEST(allowed * IF(is_quiet, 0.2, 0.8), allowed - (same_label - needed))
    GROUP BY has_positive, is_quiet
  )
SELECT
  m.* EXCEPT (sampled_by, is_quiet, has_positive, bucket),
  k.weight
FROM marked AS m
INNER JOIN kinds AS k
  ON
    k.has_positive = m.has_positive
    AND k.is_quiet = m.is_quiet
    AND k.last_bucket >= m.bucket
