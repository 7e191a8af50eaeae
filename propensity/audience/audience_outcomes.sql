-- One row per audience, as-of date and group (treated, held out): sums of outcomes.
-- Parameters: those of labels.sql; @use_case STRING.
-- Source: ma_audience_members and what labels.sql reads.
WITH
-- include: audience_entries.sql
  ,
  converters AS (
-- include: converter_amounts.sql
  ),
  labelled AS (
    SELECT
      e.*,
      IF(c.user_id IS NULL, 0, 1) AS label,
      -- A correction of an earlier week's purchase is no effect: it counts as nothing
      -- here, as it does where expected values are compared with what was paid.
      IF(c.amount < 0, NUMERIC '0', c.amount) AS amount
    FROM entries AS e
    LEFT JOIN converters AS c
      ON c.as_of = e.as_of AND c.user_id = e.user_id
  )
-- include: audience_sums.sql
