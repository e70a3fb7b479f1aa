WITH members AS (
  SELECT
    m.site_id,
    COUNT(DISTINCT m.user_id) AS members
  FROM gold.interactions.site_members AS m
  WHERE m.is_active
  GROUP BY m.site_id
),
held AS (
  SELECT
    l.site_id,
    COUNT(CASE WHEN l.state = 'active' THEN l.interaction_id END) AS interactions_active,
    COUNT(CASE WHEN l.state = 'archived' THEN l.interaction_id END) AS interactions_archived,
    COUNT(CASE WHEN l.state = 'deleted' THEN l.interaction_id END) AS interactions_deleted,
    MAX(CASE WHEN l.state <> 'deleted' THEN l.last_active_at END) AS last_active_at
  FROM gold.interactions.lifecycle AS l
  GROUP BY l.site_id
)
SELECT
  s.site_id,
  s.name AS site_name,
  s.is_active,
  CAST(COALESCE(m.members, 0) AS BIGINT) AS members,
  CAST(COALESCE(h.interactions_active, 0) AS BIGINT) AS interactions_active,
  CAST(COALESCE(h.interactions_archived, 0) AS BIGINT) AS interactions_archived,
  CAST(COALESCE(h.interactions_deleted, 0) AS BIGINT) AS interactions_deleted,
  h.last_active_at
FROM silver.interactions.sites AS s
LEFT JOIN members AS m ON s.site_id = m.site_id
LEFT JOIN held AS h ON s.site_id = h.site_id
