WITH alive AS (
  SELECT
    h.id,
    MAX(h.updated_at) AS last_alive_at
  FROM history.tasks.users AS h
  WHERE h.verdict = 'kept' AND h.status <> 'deleted'
  GROUP BY h.id
),
deletions AS (
  SELECT
    h.id,
    MIN(h.updated_at) AS deleted_at
  FROM history.tasks.users AS h
  LEFT JOIN alive AS a ON h.id = a.id
  WHERE h.verdict = 'kept' AND h.status = 'deleted' AND (a.last_alive_at IS NULL OR h.updated_at >= a.last_alive_at)
  GROUP BY h.id
),
accounts AS (
  SELECT
    u.id,
    u.email,
    u.status,
    u.created_at,
    CASE WHEN u.status = 'deleted' THEN d.deleted_at END AS deleted_at,
    COALESCE(u.status = 'deleted' AND d.deleted_at < c.as_of - INTERVAL '30 days', FALSE) AS is_anonymised
  FROM silver.tasks.users AS u
  CROSS JOIN gold.tasks.clock AS c
  LEFT JOIN deletions AS d ON u.id = d.id
)
SELECT
  a.id AS user_id,
  CASE WHEN a.is_anonymised THEN CONCAT('deleted-', a.id, '@deleted.local') ELSE a.email END AS email,
  CASE WHEN a.is_anonymised THEN NULL ELSE NULLIF(CONCAT_WS(' ', p.first_name, p.last_name), '') END AS display_name,
  a.status,
  a.created_at,
  a.deleted_at,
  a.is_anonymised
FROM accounts AS a
LEFT JOIN silver.tasks.user_profiles AS p ON a.id = p.user_id
