WITH studies AS (
  SELECT
    o.study_id,
    f.study_type,
    o.participants,
    o.completions,
    o.mean_quality,
    o.compensation,
    f.completion_percent,
    s.budget
  FROM gold.research.study_outcomes AS o
  INNER JOIN gold.research.study_funnel AS f ON o.study_id = f.study_id
  INNER JOIN silver.research.studies AS s ON o.study_id = s.study_id
),
kinds AS (
  SELECT
    s.study_type,
    COUNT(s.study_id) AS studies,
    SUM(s.mean_quality) AS quality
  FROM studies AS s
  GROUP BY s.study_type
)
SELECT
  s.study_id,
  s.study_type,
  s.participants,
  s.completions,
  s.completion_percent,
  s.mean_quality,
  CAST(RANK() OVER (PARTITION BY s.study_type ORDER BY s.mean_quality DESC) AS BIGINT) AS quality_rank,
  CAST(k.studies AS BIGINT) AS studies_compared,
  CAST(ROUND(CAST(s.mean_quality AS DECIMAL(38, 6)) - CAST(k.quality AS DECIMAL(38, 6)) / CAST(k.studies AS DECIMAL(38, 6)), 2) AS DECIMAL(5, 2)) AS quality_difference,
  CAST(ROUND(CAST(s.compensation AS DECIMAL(38, 6)) / CAST(s.completions AS DECIMAL(38, 6)), 2) AS DECIMAL(18, 2)) AS compensation_each,
  CAST(ROUND(CAST(100 * s.compensation AS DECIMAL(38, 6)) / CAST(NULLIF(s.budget, 0) AS DECIMAL(38, 6)), 2) AS DECIMAL(18, 2)) AS budget_percent
FROM studies AS s
INNER JOIN kinds AS k ON s.study_type = k.study_type
