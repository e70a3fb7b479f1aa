WITH orders AS (
  SELECT
    o.order_id,
    o.customer_id,
    o.status,
    o.shipping_amount,
    o.created_at,
    o.valid_from,
    o.valid_to,
    o.is_current,
    o.source_event
  FROM history.commerce.orders AS o
  WHERE o.verdict = 'kept'
),
lines AS (
  SELECT
    i.order_item_id,
    i.order_id,
    i.product_id,
    i.line_total,
    i.discount_amount,
    i.tax_amount,
    i.valid_from,
    i.valid_to,
    i.is_current,
    i.source_event
  FROM history.commerce.order_items AS i
  WHERE i.verdict = 'kept'
),
intervals AS (
  SELECT
    l.order_item_id,
    l.order_id,
    l.product_id,
    l.line_total,
    l.discount_amount,
    l.tax_amount,
    o.customer_id,
    o.status,
    o.shipping_amount,
    CAST(o.created_at AS DATE) AS order_date,
    GREATEST(l.valid_from, o.valid_from) AS valid_from,
    CASE
      WHEN l.valid_to IS NULL THEN o.valid_to
      WHEN o.valid_to IS NULL THEN l.valid_to
      ELSE LEAST(l.valid_to, o.valid_to)
    END AS valid_to,
    l.is_current AND o.is_current AS is_current,
    GREATEST(l.source_event, o.source_event) AS source_version
  FROM lines AS l
  INNER JOIN orders AS o ON l.order_id = o.order_id
  WHERE (o.valid_to IS NULL OR l.valid_from < o.valid_to)
    AND (l.valid_to IS NULL OR o.valid_from < l.valid_to)
    AND (l.valid_to IS NULL OR l.valid_from < l.valid_to)
    AND (o.valid_to IS NULL OR o.valid_from < o.valid_to)
),
first_lines AS (
  SELECT
    n.order_id,
    n.valid_from,
    MIN(n.order_item_id) AS order_item_id
  FROM intervals AS n
  GROUP BY n.order_id, n.valid_from
),
current_first_lines AS (
  SELECT
    n.order_id,
    MIN(n.order_item_id) AS order_item_id
  FROM intervals AS n
  WHERE n.is_current
  GROUP BY n.order_id
),
marked AS (
  SELECT
    n.order_item_id,
    n.order_id,
    n.product_id,
    n.line_total,
    n.discount_amount,
    n.tax_amount,
    n.customer_id,
    n.status,
    n.shipping_amount,
    n.order_date,
    n.valid_from,
    n.valid_to,
    n.is_current,
    n.source_version,
    CASE
      WHEN n.is_current THEN c.order_item_id = n.order_item_id
      ELSE f.order_item_id = n.order_item_id
    END AS is_first
  FROM intervals AS n
  INNER JOIN first_lines AS f ON n.order_id = f.order_id AND n.valid_from = f.valid_from
  LEFT JOIN current_first_lines AS c ON n.order_id = c.order_id
)
SELECT
  m.order_item_id,
  CAST(EXTRACT(YEAR FROM m.order_date) AS INTEGER) * 10000
    + CAST(EXTRACT(MONTH FROM m.order_date) AS INTEGER) * 100
    + CAST(EXTRACT(DAY FROM m.order_date) AS INTEGER) AS order_date_key,
  c.customer_key,
  p.product_key,
  m.status AS order_status,
  CAST(CASE WHEN m.is_first THEN 1 ELSE 0 END AS INTEGER) AS order_count,
  CAST(m.line_total AS DECIMAL(12, 2)) AS total_amount,
  CAST(m.discount_amount AS DECIMAL(12, 2)) AS discount_amount,
  CAST(m.tax_amount AS DECIMAL(12, 2)) AS tax_amount,
  CASE
    WHEN m.is_first THEN CAST(m.shipping_amount AS DECIMAL(12, 2))
    ELSE CAST(0 AS DECIMAL(12, 2))
  END AS shipping_amount,
  m.valid_from,
  m.valid_to,
  m.is_current,
  m.source_version,
  m.order_id AS source_silver_order_id
FROM marked AS m
LEFT JOIN gold.commerce.dim_customer AS c ON m.customer_id = c.customer_id
LEFT JOIN gold.commerce.dim_product AS p ON m.product_id = p.product_id
