WITH told AS (
  SELECT MAX(u.source_timestamp) AS newest FROM history.tasks.users AS u
  UNION ALL
  SELECT MAX(p.source_timestamp) AS newest FROM history.tasks.projects AS p
  UNION ALL
  SELECT MAX(t.source_timestamp) AS newest FROM history.tasks.tasks AS t
  UNION ALL
  SELECT MAX(a.source_timestamp) AS newest FROM silver.tasks.activity_log AS a
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
