-- Part of training_rows.sql: whose rows are sampled together, and whether these are many
-- that teach little (as of sampled_by_presence.sql).
      f.user_id AS sampled_by,
      FALSE AS is_quiet
