-- The newest row of stream_compactions; none before the first compaction.
SELECT counted_until, closed_before
FROM stream_compactions
ORDER BY counted_until DESC, compacted_at DESC
LIMIT 1
