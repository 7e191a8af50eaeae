-- Part of a statement: at most @maximum_rows rows of ``labelled``, each with its weight.
-- Parameters: @maximum_rows INT64.
-- ``labelled`` has as_of, label (0, 1 or null) and sampled_by: rows of one sampled_by, a
-- user, are all read or all left out, by a hash, so that a rerun reads the same ones.
-- Users are of two kinds: those with a row of label 1, and all others. Each kind has a part
-- of the rows, and what one does not need goes to the other (sampling_cuts.sql).
-- A row stands for the rows of its date, its kind of user and its label that were left
-- out: of every date, weighted counts of both labels are the true ones
-- (sampling_weights.sql). Without a row left out all weights are 1.
-- A bucket is the fourth root of the hash's share of its range: however few of however
-- many users are read, the last bucket holds less than a hundredth of them. A square root
-- is rounded alike everywhere, as a logarithm need not be.
  marked AS (
    SELECT
      l.*,
      COALESCE(MAX(l.label) OVER (PARTITION BY l.sampled_by), 0) = 1 AS has_positive,
      COALESCE(l.label, -1) AS class,
      CAST(
        FLOOR(
          32768
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
      COUNT(*) AS row_count
    FROM
      marked
    GROUP BY
      has_positive,
      bucket
  ),
-- include: sampling_cuts.sql
  ,
  cells AS (
    SELECT
      m.as_of,
      m.has_positive,
      m.class,
      c.last_bucket,
      COUNT(*) AS row_count,
      COUNTIF(m.bucket <= c.last_bucket) AS kept
    FROM
      marked AS m
    INNER JOIN
      cuts AS c
      ON c.has_positive = m.has_positive
    GROUP BY
      m.as_of,
      m.has_positive,
      m.class,
      c.last_bucket
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
