SELECT
  c.customer_id,
  c.country,
  c.segment,
  CAST(c.created_at AS DATE) AS customer_since
FROM silver.commerce.customers AS c
