WITH weeks AS (
  SELECT
    l.study_type,
    CAST(DATE_TRUNC('week', d.day) AS DATE) AS week_start,
    SUM(d.visits) AS visits,
    SUM(d.applications) AS applications,
    SUM(d.completions) AS completions
  FROM gold.research.daily_activity AS d
  INNER JOIN gold.research.study_lifecycle AS l ON d.study_id = l.study_id
  GROUP BY l.study_type, CAST(DATE_TRUNC('week', d.day) AS DATE)
),
shares AS (
  SELECT w.study_type, w.week_start, w.applications, w.completions FROM weeks AS w
  UNION ALL
  SELECT w.study_type, w.week_start + INTERVAL '7 days' AS week_start, w.applications, w.completions FROM weeks AS w
  UNION ALL
  SELECT w.study_type, w.week_start + INTERVAL '14 days' AS week_start, w.applications, w.completions FROM weeks AS w
  UNION ALL
  SELECT w.study_type, w.week_start + INTERVAL '21 days' AS week_start, w.applications, w.completions FROM weeks AS w
),
months AS (
  SELECT
    s.study_type,
    s.week_start,
    SUM(s.applications) AS applications,
    SUM(s.completions) AS completions
  FROM shares AS s
  GROUP BY s.study_type, s.week_start
),
before AS (
  SELECT w.study_type, w.week_start + INTERVAL '7 days' AS week_start, w.applications, w.completions
  FROM weeks AS w
)
SELECT
  w.study_type,
  w.week_start,
  CAST(w.visits AS BIGINT) AS visits,
  CAST(w.applications AS BIGINT) AS applications,
  CAST(w.completions AS BIGINT) AS completions,
  CAST(ROUND(CAST(m.applications AS DECIMAL(38, 6)) / CAST(4 AS DECIMAL(38, 6)), 2) AS DECIMAL(18, 2)) AS applications_4_weeks,
  CAST(ROUND(CAST(m.completions AS DECIMAL(38, 6)) / CAST(4 AS DECIMAL(38, 6)), 2) AS DECIMAL(18, 2)) AS completions_4_weeks,
  CAST(w.applications - COALESCE(b.applications, 0) AS BIGINT) AS applications_change,
  CAST(w.completions - COALESCE(b.completions, 0) AS BIGINT) AS completions_change
FROM weeks AS w
INNER JOIN months AS m ON w.study_type = m.study_type AND w.week_start = m.week_start
LEFT JOIN before AS b ON w.study_type = b.study_type AND w.week_start = b.week_start
