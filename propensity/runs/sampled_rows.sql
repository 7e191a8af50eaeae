-- Part of a statement: at most @maximum_rows rows of ``labelled``, each with its weight.
-- Parameters: @maximum_rows INT64.
-- ``labelled`` has as_of, label (0, 1 or null) and sampled_by: rows of one sampled_by, a
-- user, are all read or all left out, by a hash, so that a rerun reads the same ones.
-- Users are of two kinds: those with a row of label 1, and all others.
-- A bucket is the fourth root of the hash's share of its range: however few of however
-- many users are read, the last bucket holds about a hundredth of them at most. A square
-- root is rounded alike everywhere, as a logarithm need not be.
  marked AS (
    SELECT
      l.*,
      COALESCE(MAX(l.label) OVER (PARTITION BY l.sampled_by), 0) = 1 AS has_positive,
      COALESCE(l.label, -1) AS class,
      CAST(
        FLOOR(
          8192
          * SQRT(SQRT(0.5 + FARM_FINGERPRINT(l.sampled_by) / 1.8446744073709552e19))
        ) AS INT64
      ) AS bucket
    FROM
      labelled AS l
  ),
  buckets AS (
    SELECT
      has_positive,
      bucket,
      as_of,
      class,
      COUNT(*) AS row_count
    FROM
      marked
    GROUP BY
      has_positive,
      bucket,
      as_of,
      class
  ),
-- include: sampling_weights.sql
SELECT
  m.* EXCEPT (sampled_by, has_positive, class, bucket),
  w.weight
FROM
  marked AS m
INNER JOIN
  weights AS w
  ON
    w.as_of = m.as_of
    AND w.has_positive = m.has_positive
    AND w.class = m.class
    AND w.last_bucket >= m.bucket
