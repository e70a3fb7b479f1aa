SELECT
  c.customer_id,
  n.as_of + INTERVAL '1 day' AS as_of
FROM silver.commerce.customers AS c
CROSS JOIN gold.commerce.clock AS n
