SELECT
  a.id AS entry_id,
  a.entity_type,
  a.entity_id,
  a.action,
  a.actor_id,
  a.created_at
FROM silver.tasks.activity_log AS a
CROSS JOIN gold.tasks.clock AS c
WHERE a.created_at >= c.as_of - INTERVAL '2 years'
