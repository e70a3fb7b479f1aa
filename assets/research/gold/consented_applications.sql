SELECT
  a.application_id,
  a.study_id,
  l.study_type,
  a.participant_id,
  p.age_group,
  p.gender,
  p.region,
  a.status,
  a.eligibility_score,
  a.applied_at,
  a.decided_at
FROM silver.research.applications AS a
INNER JOIN gold.research.consented_participants AS p ON a.participant_id = p.participant_id
INNER JOIN gold.research.study_lifecycle AS l ON a.study_id = l.study_id
