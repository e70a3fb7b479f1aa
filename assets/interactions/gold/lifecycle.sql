WITH standing AS (
  SELECT
    i.site_id,
    i.interaction_id,
    COALESCE(i.updated_at, i.created_at) AS last_active_at,
    COALESCE(i.updated_at, i.created_at) + INTERVAL '2 years' AS archived_at,
    COALESCE(i.updated_at, i.created_at) + INTERVAL '7 years' AS gone_at
  FROM silver.interactions.interactions AS i
),
deleted AS (
  SELECT
    d.site_id,
    d.interaction_id,
    COALESCE(d.updated_at, d.created_at) AS last_active_at,
    d.deleted_at,
    d.deleted_at + INTERVAL '30 days' AS gone_at
  FROM gold.interactions.restorable AS d
)
SELECT
  s.site_id,
  s.interaction_id,
  CASE WHEN s.archived_at <= c.as_of THEN 'archived' ELSE 'active' END AS state,
  s.last_active_at,
  s.archived_at,
  CAST(NULL AS TIMESTAMP) AS deleted_at,
  s.gone_at
FROM standing AS s
CROSS JOIN gold.interactions.clock AS c
WHERE s.gone_at > c.as_of
UNION ALL
SELECT
  d.site_id,
  d.interaction_id,
  'deleted' AS state,
  d.last_active_at,
  CAST(NULL AS TIMESTAMP) AS archived_at,
  d.deleted_at,
  d.gone_at
FROM deleted AS d
