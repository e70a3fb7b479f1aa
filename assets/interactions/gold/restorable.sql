WITH ends AS (
  SELECT
    h.interaction_id,
    CAST(h.valid_from AS TIMESTAMP) AS deleted_at
  FROM history.interactions.interactions AS h
  WHERE h.verdict = 'deleted' AND h.valid_to IS NULL
),
versions AS (
  SELECT
    h.interaction_id,
    h.site_id,
    h.title,
    h.type,
    h.lead,
    h.start_datetime,
    h.timezone,
    h.end_datetime,
    h.location,
    h.description,
    h.notes,
    h.created_by,
    h.created_at,
    h.updated_by,
    h.updated_at,
    ROW_NUMBER() OVER (PARTITION BY h.interaction_id ORDER BY h.source_epoch DESC, h.source_commit DESC, h.source_event DESC, h.source_offset DESC) AS age
  FROM history.interactions.interactions AS h
  WHERE h.verdict = 'kept'
)
SELECT
  v.site_id,
  v.interaction_id,
  e.deleted_at,
  v.title,
  v.type,
  v.lead,
  v.start_datetime,
  v.timezone,
  v.end_datetime,
  v.location,
  v.description,
  v.notes,
  v.created_by,
  v.created_at,
  v.updated_by,
  v.updated_at
FROM ends AS e
INNER JOIN versions AS v ON e.interaction_id = v.interaction_id AND v.age = 1
CROSS JOIN gold.interactions.clock AS c
WHERE e.deleted_at + INTERVAL '30 days' > c.as_of
