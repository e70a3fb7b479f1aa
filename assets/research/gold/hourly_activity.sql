WITH events AS (
  SELECT a.study_id, DATE_TRUNC('hour', a.applied_at) AS hour_start, a.participant_id, 1 AS applied, 0 AS completed
  FROM gold.research.consented_applications AS a
  UNION ALL
  SELECT c.study_id, DATE_TRUNC('hour', c.completed_at) AS hour_start, c.participant_id, 0 AS applied, 1 AS completed
  FROM gold.research.consented_completions AS c
),
recent AS (
  SELECT
    e.study_id,
    e.hour_start,
    e.participant_id,
    e.applied,
    e.completed
  FROM events AS e
  CROSS JOIN gold.research.clock AS c
  WHERE e.hour_start >= c.as_of - INTERVAL '90 days'
)
SELECT
  r.study_id,
  r.hour_start,
  r.hour_start + INTERVAL '1 hour' AS hour_end,
  CAST(SUM(r.applied) AS BIGINT) AS applications,
  CAST(SUM(r.completed) AS BIGINT) AS completions,
  CAST(COUNT(DISTINCT r.participant_id) AS BIGINT) AS participants
FROM recent AS r
GROUP BY r.study_id, r.hour_start
