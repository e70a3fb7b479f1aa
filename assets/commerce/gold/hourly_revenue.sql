WITH confirmed AS (
  SELECT
    DATE_TRUNC('hour', o.created_at) AS hour_start,
    o.order_id,
    o.total_amount
  FROM silver.commerce.orders AS o
  WHERE o.status IN ('CONFIRMED', 'SHIPPED', 'DELIVERED') AND o.deleted_at IS NULL
)
SELECT
  c.hour_start,
  c.hour_start + INTERVAL '1 hour' AS hour_end,
  CAST(COUNT(c.order_id) AS BIGINT) AS order_count,
  CAST(SUM(c.total_amount) AS DECIMAL(18, 2)) AS revenue
FROM confirmed AS c
GROUP BY c.hour_start
