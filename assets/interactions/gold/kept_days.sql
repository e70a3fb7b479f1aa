WITH told AS (
  SELECT DISTINCT CAST(h.valid_from AS DATE) AS day
  FROM history.interactions.interactions AS h
)
SELECT t.day
FROM told AS t
CROSS JOIN gold.interactions.clock AS n
WHERE t.day >= CAST(n.as_of - INTERVAL '2 years' AS DATE)
