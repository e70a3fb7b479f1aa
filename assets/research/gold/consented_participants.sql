SELECT
  p.participant_id,
  COALESCE(p.age_group, 'not told') AS age_group,
  COALESCE(p.gender, 'not told') AS gender,
  p.region,
  p.created_at AS registered_at,
  p.consented_at,
  p.consented_at + INTERVAL '5 years' AS consent_ends_at
FROM silver.research.participants AS p
CROSS JOIN gold.research.clock AS c
WHERE p.consent_status = 'granted' AND p.consented_at + INTERVAL '5 years' > c.as_of
