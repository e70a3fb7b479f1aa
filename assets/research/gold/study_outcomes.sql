WITH judged AS (
  SELECT
    c.study_id,
    c.participant_id,
    c.completion_id,
    c.quality_score,
    c.compensation
  FROM gold.research.consented_completions AS c
  WHERE c.quality_score IS NOT NULL
)
SELECT
  j.study_id,
  CAST(COUNT(DISTINCT j.participant_id) AS BIGINT) AS participants,
  CAST(COUNT(j.completion_id) AS BIGINT) AS completions,
  CAST(ROUND(CAST(SUM(j.quality_score) AS DECIMAL(38, 6)) / CAST(COUNT(j.completion_id) AS DECIMAL(38, 6)), 2) AS DECIMAL(5, 2)) AS mean_quality,
  CAST(SUM(j.compensation) AS DECIMAL(18, 2)) AS compensation
FROM judged AS j
GROUP BY j.study_id
