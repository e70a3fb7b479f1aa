SELECT
  p.age_group,
  p.gender,
  p.region,
  CAST(COUNT(p.participant_id) AS BIGINT) AS participants
FROM gold.research.consented_participants AS p
GROUP BY p.age_group, p.gender, p.region
