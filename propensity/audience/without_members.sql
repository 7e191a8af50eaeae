-- One row per user who may be a member: nobody who ever was a member of the others.
SELECT user_id
FROM publication
WHERE
  user_id NOT IN (
    SELECT user_id
    FROM ma_audience_members
    WHERE CONCAT(use_case, '/', audience) IN (`audiences`)
  )
