WITH versions AS (
  SELECT
    m.customer_id,
    m.as_of,
    c.valid_from,
    ROW_NUMBER() OVER (
      PARTITION BY m.customer_id, m.as_of
      ORDER BY c.source_epoch DESC, c.source_commit DESC, c.source_event DESC, c.source_offset DESC
    ) AS nth
  FROM gold.commerce.feature_moments AS m
  INNER JOIN history.commerce.customers AS c ON m.customer_id = c.customer_id
  WHERE c.verdict = 'kept' AND c.valid_from < m.as_of AND (c.valid_to IS NULL OR m.as_of <= c.valid_to)
),
known AS (
  SELECT
    v.customer_id,
    v.as_of,
    v.valid_from
  FROM versions AS v
  WHERE v.nth = 1
),
-- What history says of a row by its parent it says as of today. Here the join says it, as of the instant: a fault of that
-- kind alone, or a warning, keeps no row out.
orders AS (
  SELECT
    c.customer_id,
    c.as_of,
    o.order_id,
    o.total_amount,
    o.valid_from,
    o.status <> 'CANCELLED' AND o.deleted_at IS NULL AS stands,
    o.created_at >= c.as_of - INTERVAL '30 days' AS is_recent,
    ROW_NUMBER() OVER (
      PARTITION BY c.customer_id, c.as_of, o.order_id
      ORDER BY o.source_epoch DESC, o.source_commit DESC, o.source_event DESC, o.source_offset DESC
    ) AS nth
  FROM known AS c
  INNER JOIN history.commerce.orders AS o ON c.customer_id = o.customer_id
  WHERE (o.verdict = 'kept' OR REGEXP_LIKE(ARRAY_TO_STRING(o.quality_issues, ','), '^((known_customer|large_order|updated_after_created),?)+$'))
    AND o.valid_from < c.as_of AND (o.valid_to IS NULL OR c.as_of <= o.valid_to)
),
totals AS (
  SELECT
    o.customer_id,
    o.as_of,
    MAX(o.valid_from) AS changed_at,
    COUNT(CASE WHEN o.stands AND o.is_recent THEN o.order_id END) AS recent_orders,
    SUM(CASE WHEN o.stands AND o.is_recent THEN o.total_amount END) AS recent_amount,
    COUNT(CASE WHEN o.stands THEN o.order_id END) AS orders,
    SUM(CASE WHEN o.stands THEN o.total_amount END) AS amount
  FROM orders AS o
  WHERE o.nth = 1
  GROUP BY o.customer_id, o.as_of
),
lines AS (
  SELECT
    o.customer_id,
    o.as_of,
    i.quantity,
    i.line_total,
    p.category,
    ROW_NUMBER() OVER (
      PARTITION BY o.customer_id, o.as_of, i.order_item_id
      ORDER BY
        i.source_epoch DESC, i.source_commit DESC, i.source_event DESC, i.source_offset DESC,
        p.source_epoch DESC, p.source_commit DESC, p.source_event DESC, p.source_offset DESC
    ) AS nth
  FROM orders AS o
  INNER JOIN history.commerce.order_items AS i ON o.order_id = i.order_id
  INNER JOIN history.commerce.products AS p ON i.product_id = p.product_id
  WHERE o.nth = 1 AND o.stands AND o.is_recent
    AND (i.verdict = 'kept' OR REGEXP_LIKE(ARRAY_TO_STRING(i.quality_issues, ','), '^((known_order|known_product|updated_after_created),?)+$'))
    AND i.deleted_at IS NULL AND i.valid_from < o.as_of AND (i.valid_to IS NULL OR o.as_of <= i.valid_to)
    AND p.verdict = 'kept' AND p.valid_from < o.as_of AND (p.valid_to IS NULL OR o.as_of <= p.valid_to)
),
categories AS (
  SELECT
    l.customer_id,
    l.as_of,
    l.category,
    SUM(l.quantity) AS pieces,
    SUM(l.line_total) AS amount
  FROM lines AS l
  WHERE l.nth = 1 AND l.category IS NOT NULL
  GROUP BY l.customer_id, l.as_of, l.category
),
preferred AS (
  SELECT
    g.customer_id,
    g.as_of,
    g.category,
    ROW_NUMBER() OVER (PARTITION BY g.customer_id, g.as_of ORDER BY g.pieces DESC, g.amount DESC, g.category) AS nth
  FROM categories AS g
),
favourites AS (
  SELECT
    f.customer_id,
    f.as_of,
    f.category
  FROM preferred AS f
  WHERE f.nth = 1
),
counted AS (
  SELECT
    m.customer_id,
    m.as_of,
    CAST(COALESCE(t.recent_orders, 0) AS BIGINT) AS recent_orders,
    CAST(COALESCE(t.recent_amount, 0) AS DECIMAL(18, 2)) AS recent_amount,
    CAST(COALESCE(t.orders, 0) AS BIGINT) AS orders,
    CAST(COALESCE(t.amount, 0) AS DECIMAL(18, 2)) AS amount,
    f.category,
    COALESCE(GREATEST(c.valid_from, t.changed_at), c.valid_from) AS changed_at
  FROM gold.commerce.feature_moments AS m
  LEFT JOIN known AS c ON m.customer_id = c.customer_id AND m.as_of = c.as_of
  LEFT JOIN totals AS t ON m.customer_id = t.customer_id AND m.as_of = t.as_of
  LEFT JOIN favourites AS f ON m.customer_id = f.customer_id AND m.as_of = f.as_of
)
SELECT
  n.customer_id,
  n.as_of,
  n.recent_orders AS order_count_last_30_days,
  n.recent_amount AS total_spent_last_30_days,
  CAST(ROUND(CAST(n.recent_amount AS DECIMAL(38, 6)) / CAST(NULLIF(n.recent_orders, 0) AS DECIMAL(38, 6)), 2) AS DECIMAL(18, 2)) AS avg_order_value,
  n.category AS preferred_category,
  CASE WHEN n.orders = 0 THEN 'none' WHEN n.orders = 1 THEN 'new' WHEN n.orders < 5 THEN 'returning' ELSE 'loyal' END AS lifetime_segment,
  n.orders AS lifetime_order_count,
  n.amount AS lifetime_value,
  n.changed_at AS features_updated_at,
  '1.0.0' AS feature_version
FROM counted AS n
