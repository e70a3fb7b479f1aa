WITH told AS (
  SELECT MAX(u.source_timestamp) AS newest FROM history.interactions.users AS u
  UNION ALL
  SELECT MAX(m.source_timestamp) AS newest FROM history.interactions.user_site_mapping AS m
  UNION ALL
  SELECT MAX(i.source_timestamp) AS newest FROM history.interactions.interactions AS i
),
now AS (
  SELECT MAX(t.newest) AS newest
  FROM told AS t
)
SELECT
  CAST(1 AS INTEGER) AS clock_id,
  CAST(DATE_TRUNC('day', n.newest) AS TIMESTAMP) AS as_of
FROM now AS n
WHERE n.newest IS NOT NULL
