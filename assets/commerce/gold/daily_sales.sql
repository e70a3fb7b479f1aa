WITH sales AS (
  SELECT
    f.order_date_key,
    f.order_count,
    f.total_amount + f.shipping_amount AS revenue,
    f.customer_key
  FROM gold.commerce.order_facts AS f
  WHERE f.is_current AND f.order_status <> 'CANCELLED'
),
days AS (
  SELECT
    s.order_date_key,
    CAST(SUM(s.order_count) AS BIGINT) AS order_count,
    CAST(SUM(s.revenue) AS DECIMAL(18, 2)) AS total_revenue,
    CAST(COUNT(DISTINCT s.customer_key) AS BIGINT) AS unique_customers
  FROM sales AS s
  GROUP BY s.order_date_key
)
SELECT
  d.order_date_key,
  d.order_count,
  d.total_revenue,
  CAST(ROUND(CAST(d.total_revenue AS DECIMAL(38, 6)) / CAST(NULLIF(d.order_count, 0) AS DECIMAL(38, 6)), 2) AS DECIMAL(18, 2)) AS avg_order_value,
  d.unique_customers
FROM days AS d
