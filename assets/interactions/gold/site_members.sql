SELECT
  m.site_id,
  m.mapping_id,
  m.user_id,
  u.username,
  m.role,
  m.assigned_at,
  u.is_active
FROM silver.interactions.user_site_mapping AS m
INNER JOIN silver.interactions.users AS u ON m.user_id = u.user_id
