WITH told AS (
  SELECT MAX(c.source_timestamp) AS newest FROM history.commerce.customers AS c
  UNION ALL
  SELECT MAX(o.source_timestamp) AS newest FROM history.commerce.orders AS o
  UNION ALL
  SELECT MAX(i.source_timestamp) AS newest FROM history.commerce.order_items AS i
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
