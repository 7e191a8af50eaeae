-- Note that days of the digest are without suppressed users, and need not be read again;
-- or that they must be.
-- Parameters: @first_day and @last_day DATE; @statement STRING, which digested them, or ''.
UPDATE ga_digested_days
SET statement = @statement
WHERE export_day BETWEEN @first_day AND @last_day
