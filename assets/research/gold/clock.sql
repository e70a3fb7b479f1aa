WITH told AS (
  SELECT MAX(s.source_timestamp) AS newest FROM history.research.studies AS s
  UNION ALL
  SELECT MAX(p.source_timestamp) AS newest FROM history.research.participants AS p
  UNION ALL
  SELECT MAX(a.source_timestamp) AS newest FROM history.research.applications AS a
  UNION ALL
  SELECT MAX(c.source_timestamp) AS newest FROM history.research.completions AS c
),
now AS (
  SELECT MAX(t.newest) AS newest
  FROM told AS t
)
SELECT
  CAST(1 AS INTEGER) AS clock_id,
  DATE_TRUNC('day', n.newest) AS as_of
FROM now AS n
WHERE n.newest IS NOT NULL
