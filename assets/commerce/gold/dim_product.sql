SELECT
  p.product_id,
  p.sku,
  p.name AS product_name,
  p.category,
  p.price,
  p.active
FROM silver.commerce.products AS p
