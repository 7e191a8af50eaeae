-- Part of training_rows.sql where features say who was away: the rows of such a user are
-- many that teach little, and are sampled by themselves.
      CONCAT(f.presence, ' ', f.user_id) AS sampled_by,
      f.presence = 'away' AS is_quiet
