-- Part of training_rows.sql: the rows of a user who was away are sampled by themselves.
      CONCAT(f.presence, ' ', f.user_id) AS sampled_by,
      f.presence = 'away' AS is_quiet
