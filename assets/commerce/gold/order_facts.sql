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
    o.source_event,
    ROW_NUMBER() OVER (
      PARTITION BY o.order_id ORDER BY o.source_epoch, o.source_commit, o.source_event, o.source_offset
    ) AS nth
  FROM history.commerce.orders AS o
  WHERE o.verdict = 'kept' AND o.deleted_at IS NULL
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
    i.source_event,
    ROW_NUMBER() OVER (
      PARTITION BY i.order_item_id ORDER BY i.source_epoch, i.source_commit, i.source_event, i.source_offset
    ) AS nth
  FROM history.commerce.order_items AS i
  WHERE i.verdict = 'kept' AND i.deleted_at IS NULL
),
overlaps AS (
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
    GREATEST(l.source_event, o.source_event) AS source_version,
    l.nth AS line_nth,
    o.nth AS order_nth
  FROM lines AS l
  INNER JOIN orders AS o ON l.order_id = o.order_id
  WHERE (o.valid_to IS NULL OR l.valid_from < o.valid_to)
    AND (l.valid_to IS NULL OR o.valid_from < l.valid_to)
    AND (l.valid_to IS NULL OR l.valid_from < l.valid_to)
    AND (o.valid_to IS NULL OR o.valid_from < o.valid_to)
),
cuts AS (
  SELECT n.order_id, n.valid_from AS cut
  FROM overlaps AS n
  UNION
  SELECT n.order_id, n.valid_to AS cut
  FROM overlaps AS n
  WHERE n.valid_to IS NOT NULL
),
intervals AS (
  SELECT
    c.order_id,
    c.cut AS valid_from,
    LEAD(c.cut) OVER (PARTITION BY c.order_id ORDER BY c.cut) AS valid_to
  FROM cuts AS c
),
versions AS (
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
    t.valid_from,
    t.valid_to,
    n.is_current AND t.valid_to IS NULL AS is_current,
    n.source_version,
    ROW_NUMBER() OVER (
      PARTITION BY n.order_item_id, t.valid_from ORDER BY n.line_nth DESC, n.order_nth DESC
    ) AS newest
  FROM overlaps AS n
  INNER JOIN intervals AS t ON n.order_id = t.order_id
  WHERE n.valid_from <= t.valid_from
    AND (n.valid_to IS NULL OR t.valid_from < n.valid_to)
),
first_lines AS (
  SELECT
    v.order_id,
    v.valid_from,
    MIN(v.order_item_id) AS order_item_id
  FROM versions AS v
  GROUP BY v.order_id, v.valid_from
),
marked AS (
  SELECT
    v.order_item_id,
    v.order_id,
    v.product_id,
    v.line_total,
    v.discount_amount,
    v.tax_amount,
    v.customer_id,
    v.status,
    v.shipping_amount,
    v.order_date,
    v.valid_from,
    v.valid_to,
    v.is_current,
    v.source_version,
    f.order_item_id = v.order_item_id AS is_first
  FROM versions AS v
  INNER JOIN first_lines AS f ON v.order_id = f.order_id AND v.valid_from = f.valid_from
  WHERE v.newest = 1
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
