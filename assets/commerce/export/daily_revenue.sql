SELECT
  d.date AS day,
  s.order_count,
  s.total_revenue
FROM gold.commerce.daily_sales AS s
INNER JOIN gold.commerce.dim_date AS d ON d.date_key = s.order_date_key
