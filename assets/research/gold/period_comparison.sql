WITH days AS (
  SELECT
    l.study_type,
    d.visits,
    d.applications,
    d.completions,
    d.day >= CAST(c.as_of - INTERVAL '30 days' AS DATE) AS is_now
  FROM gold.research.daily_activity AS d
  INNER JOIN gold.research.study_lifecycle AS l ON d.study_id = l.study_id
  CROSS JOIN gold.research.clock AS c
  WHERE d.day >= CAST(c.as_of - INTERVAL '60 days' AS DATE) AND d.day < CAST(c.as_of AS DATE)
),
counted AS (
  SELECT d.study_type, 'visits' AS metric, d.is_now, d.visits AS amount FROM days AS d
  UNION ALL
  SELECT d.study_type, 'applications' AS metric, d.is_now, d.applications AS amount FROM days AS d
  UNION ALL
  SELECT d.study_type, 'completions' AS metric, d.is_now, d.completions AS amount FROM days AS d
),
periods AS (
  SELECT
    c.study_type,
    c.metric,
    CAST(COALESCE(SUM(CASE WHEN c.is_now THEN c.amount END), 0) AS BIGINT) AS current_30_days,
    CAST(COALESCE(SUM(CASE WHEN c.is_now THEN NULL ELSE c.amount END), 0) AS BIGINT) AS previous_30_days
  FROM counted AS c
  GROUP BY c.study_type, c.metric
)
SELECT
  p.study_type,
  p.metric,
  p.current_30_days,
  p.previous_30_days,
  p.current_30_days - p.previous_30_days AS difference,
  CAST(ROUND(CAST(100 * (p.current_30_days - p.previous_30_days) AS DECIMAL(38, 6)) / CAST(NULLIF(p.previous_30_days, 0) AS DECIMAL(38, 6)), 2) AS DECIMAL(18, 2)) AS change_percent
FROM periods AS p
