-- One row: messages of some days that could not be processed, each once.
-- Parameters: @since DATE and @until DATE, both included.
SELECT COUNT(DISTINCT message_id) AS messages
FROM dead_letters
WHERE received_on BETWEEN @since AND @until
