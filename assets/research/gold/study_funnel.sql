WITH reach AS (
  SELECT
    m.study_id,
    SUM(m.impressions) AS impressions,
    SUM(m.visits) AS visits
  FROM silver.research.daily_metrics AS m
  GROUP BY m.study_id
),
applied AS (
  SELECT
    a.study_id,
    COUNT(a.application_id) AS applications,
    COUNT(CASE WHEN a.status = 'approved' THEN a.application_id END) AS approved
  FROM gold.research.consented_applications AS a
  GROUP BY a.study_id
),
completed AS (
  SELECT
    c.study_id,
    COUNT(c.completion_id) AS completions
  FROM gold.research.consented_completions AS c
  GROUP BY c.study_id
),
stages AS (
  SELECT
    l.study_id,
    l.study_type,
    s.target_participants,
    CAST(COALESCE(r.impressions, 0) AS BIGINT) AS impressions,
    CAST(COALESCE(r.visits, 0) AS BIGINT) AS visits,
    CAST(COALESCE(a.applications, 0) AS BIGINT) AS applications,
    CAST(COALESCE(a.approved, 0) AS BIGINT) AS approved,
    CAST(COALESCE(c.completions, 0) AS BIGINT) AS completions
  FROM gold.research.study_lifecycle AS l
  INNER JOIN silver.research.studies AS s ON l.study_id = s.study_id
  LEFT JOIN reach AS r ON l.study_id = r.study_id
  LEFT JOIN applied AS a ON l.study_id = a.study_id
  LEFT JOIN completed AS c ON l.study_id = c.study_id
)
SELECT
  t.study_id,
  t.study_type,
  t.impressions,
  t.visits,
  t.applications,
  t.approved,
  t.completions,
  CAST(ROUND(CAST(100 * t.visits AS DECIMAL(38, 6)) / CAST(NULLIF(t.impressions, 0) AS DECIMAL(38, 6)), 2) AS DECIMAL(9, 2)) AS visit_percent,
  CAST(ROUND(CAST(100 * t.applications AS DECIMAL(38, 6)) / CAST(NULLIF(t.visits, 0) AS DECIMAL(38, 6)), 2) AS DECIMAL(9, 2)) AS application_percent,
  CAST(ROUND(CAST(100 * t.approved AS DECIMAL(38, 6)) / CAST(NULLIF(t.applications, 0) AS DECIMAL(38, 6)), 2) AS DECIMAL(9, 2)) AS approval_percent,
  CAST(ROUND(CAST(100 * t.completions AS DECIMAL(38, 6)) / CAST(NULLIF(t.approved, 0) AS DECIMAL(38, 6)), 2) AS DECIMAL(9, 2)) AS completion_percent,
  t.target_participants,
  CAST(ROUND(CAST(100 * t.completions AS DECIMAL(38, 6)) / CAST(t.target_participants AS DECIMAL(38, 6)), 2) AS DECIMAL(9, 2)) AS target_percent
FROM stages AS t
