SELECT
  s.study_id,
  s.title,
  s.study_type,
  s.status,
  CASE WHEN s.closed_at IS NULL THEN 'open' WHEN s.closed_at + INTERVAL '2 years' <= c.as_of THEN 'archived' ELSE 'closed' END AS state,
  s.closed_at,
  s.closed_at + INTERVAL '2 years' AS archived_at,
  s.closed_at + INTERVAL '10 years' AS gone_at
FROM silver.research.studies AS s
CROSS JOIN gold.research.clock AS c
WHERE s.closed_at IS NULL OR s.closed_at + INTERVAL '10 years' > c.as_of
