SELECT
  c.completion_id,
  c.application_id,
  c.study_id,
  l.study_type,
  c.participant_id,
  p.age_group,
  p.gender,
  p.region,
  c.started_at,
  c.completed_at,
  c.quality_score,
  c.compensation
FROM silver.research.completions AS c
INNER JOIN gold.research.consented_participants AS p ON c.participant_id = p.participant_id
INNER JOIN gold.research.study_lifecycle AS l ON c.study_id = l.study_id
