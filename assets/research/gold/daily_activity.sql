WITH reach AS (
  SELECT m.study_id, m.metric_date AS day, CAST(NULL AS VARCHAR) AS participant_id, m.impressions, m.visits, 0 AS applied, 0 AS completed
  FROM silver.research.daily_metrics AS m
  INNER JOIN gold.research.study_lifecycle AS l ON m.study_id = l.study_id
),
events AS (
  SELECT r.study_id, r.day, r.participant_id, r.impressions, r.visits, r.applied, r.completed
  FROM reach AS r
  UNION ALL
  SELECT a.study_id, CAST(a.applied_at AS DATE) AS day, a.participant_id, 0 AS impressions, 0 AS visits, 1 AS applied, 0 AS completed
  FROM gold.research.consented_applications AS a
  UNION ALL
  SELECT c.study_id, CAST(c.completed_at AS DATE) AS day, c.participant_id, 0 AS impressions, 0 AS visits, 0 AS applied, 1 AS completed
  FROM gold.research.consented_completions AS c
),
recent AS (
  SELECT
    e.study_id,
    e.day,
    e.participant_id,
    e.impressions,
    e.visits,
    e.applied,
    e.completed
  FROM events AS e
  CROSS JOIN gold.research.clock AS c
  WHERE e.day >= CAST(c.as_of - INTERVAL '5 years' AS DATE)
)
SELECT
  r.study_id,
  r.day,
  CAST(SUM(r.impressions) AS BIGINT) AS impressions,
  CAST(SUM(r.visits) AS BIGINT) AS visits,
  CAST(SUM(r.applied) AS BIGINT) AS applications,
  CAST(SUM(r.completed) AS BIGINT) AS completions,
  CAST(COUNT(DISTINCT r.participant_id) AS BIGINT) AS participants
FROM recent AS r
GROUP BY r.study_id, r.day
