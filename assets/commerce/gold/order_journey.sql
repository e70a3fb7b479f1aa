WITH steps AS (
  SELECT
    e.order_id,
    MIN(e.customer_id) AS customer_id,
    MIN(CASE WHEN e.status = 'PENDING' THEN e.occurred_at END) AS placed_at,
    MIN(CASE WHEN e.status = 'CONFIRMED' THEN e.occurred_at END) AS confirmed_at,
    MIN(CASE WHEN e.status = 'SHIPPED' THEN e.occurred_at END) AS shipped_at,
    MIN(CASE WHEN e.status = 'DELIVERED' THEN e.occurred_at END) AS delivered_at,
    MIN(CASE WHEN e.status = 'CANCELLED' THEN e.occurred_at END) AS cancelled_at,
    COUNT(DISTINCT e.status) AS steps,
    MAX(e.currency) AS currency
  FROM silver.commerce.order_events AS e
  GROUP BY e.order_id
)
SELECT
  s.order_id,
  s.customer_id,
  s.currency,
  s.placed_at,
  s.confirmed_at,
  s.shipped_at,
  s.delivered_at,
  s.cancelled_at,
  CAST(s.steps AS BIGINT) AS steps
FROM steps AS s
