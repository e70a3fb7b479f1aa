SELECT
  i.site_id,
  i.interaction_id,
  i.title,
  i.type,
  i.lead,
  i.start_datetime,
  i.end_datetime,
  i.timezone,
  i.location,
  l.state,
  l.state = 'archived' AS is_read_only,
  l.last_active_at,
  LOWER(CONCAT_WS(' ', i.title, i.description, i.notes)) AS search_text
FROM silver.interactions.interactions AS i
INNER JOIN gold.interactions.lifecycle AS l ON i.site_id = l.site_id AND i.interaction_id = l.interaction_id
WHERE l.state <> 'deleted'
