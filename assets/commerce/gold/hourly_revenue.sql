WITH confirmed AS (
  SELECT
    DATE_TRUNC('hour', o.created_at) AS hour_start,
    o.order_id,
    o.total_amount
  FROM silver.commerce.orders AS o
  WHERE o.status IN ('CONFIRMED', 'SHIPPED', 'DELIVERED')
)
SELECT
  c.hour_start,
  CAST(COUNT(c.order_id) AS BIGINT) AS order_count,
  CAST(SUM(c.total_amount) AS DECIMAL(18, 2)) AS revenue
FROM confirmed AS c
GROUP BY c.hour_start
