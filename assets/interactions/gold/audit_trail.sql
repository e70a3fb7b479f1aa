WITH versions AS (
  SELECT
    h.interaction_id,
    h.site_id,
    h.source_epoch AS version_epoch,
    h.source_event AS version,
    CAST(h.valid_from AS TIMESTAMP) AS changed_at,
    COALESCE(h.updated_by, h.created_by) AS changed_by,
    h.verdict = 'deleted' AS is_deleted,
    h.source_commit > 0 AS was_told,
    h.title,
    h.type,
    h.lead,
    CAST(h.start_datetime AS VARCHAR) AS start_datetime,
    h.timezone,
    CAST(h.end_datetime AS VARCHAR) AS end_datetime,
    h.location,
    h.description,
    h.notes,
    LAG(CASE WHEN h.verdict = 'kept' THEN h.site_id END) OVER (PARTITION BY h.interaction_id ORDER BY h.source_epoch, h.source_commit, h.source_event, h.source_offset) AS site_before,
    LAG(h.title) OVER (PARTITION BY h.interaction_id ORDER BY h.source_epoch, h.source_commit, h.source_event, h.source_offset) AS title_before,
    LAG(h.type) OVER (PARTITION BY h.interaction_id ORDER BY h.source_epoch, h.source_commit, h.source_event, h.source_offset) AS type_before,
    LAG(h.lead) OVER (PARTITION BY h.interaction_id ORDER BY h.source_epoch, h.source_commit, h.source_event, h.source_offset) AS lead_before,
    LAG(CAST(h.start_datetime AS VARCHAR)) OVER (PARTITION BY h.interaction_id ORDER BY h.source_epoch, h.source_commit, h.source_event, h.source_offset) AS start_datetime_before,
    LAG(h.timezone) OVER (PARTITION BY h.interaction_id ORDER BY h.source_epoch, h.source_commit, h.source_event, h.source_offset) AS timezone_before,
    LAG(CAST(h.end_datetime AS VARCHAR)) OVER (PARTITION BY h.interaction_id ORDER BY h.source_epoch, h.source_commit, h.source_event, h.source_offset) AS end_datetime_before,
    LAG(h.location) OVER (PARTITION BY h.interaction_id ORDER BY h.source_epoch, h.source_commit, h.source_event, h.source_offset) AS location_before,
    LAG(h.description) OVER (PARTITION BY h.interaction_id ORDER BY h.source_epoch, h.source_commit, h.source_event, h.source_offset) AS description_before,
    LAG(h.notes) OVER (PARTITION BY h.interaction_id ORDER BY h.source_epoch, h.source_commit, h.source_event, h.source_offset) AS notes_before
  FROM history.interactions.interactions AS h
  WHERE h.verdict <> 'quarantined'
),
arrivals AS (
  SELECT
    v.interaction_id,
    v.site_id,
    v.version_epoch,
    v.version,
    v.changed_at,
    v.changed_by,
    v.title,
    CASE WHEN v.site_before = v.site_id THEN v.title_before END AS title_before,
    v.type,
    CASE WHEN v.site_before = v.site_id THEN v.type_before END AS type_before,
    v.lead,
    CASE WHEN v.site_before = v.site_id THEN v.lead_before END AS lead_before,
    v.start_datetime,
    CASE WHEN v.site_before = v.site_id THEN v.start_datetime_before END AS start_datetime_before,
    v.timezone,
    CASE WHEN v.site_before = v.site_id THEN v.timezone_before END AS timezone_before,
    v.end_datetime,
    CASE WHEN v.site_before = v.site_id THEN v.end_datetime_before END AS end_datetime_before,
    v.location,
    CASE WHEN v.site_before = v.site_id THEN v.location_before END AS location_before,
    v.description,
    CASE WHEN v.site_before = v.site_id THEN v.description_before END AS description_before,
    v.notes,
    CASE WHEN v.site_before = v.site_id THEN v.notes_before END AS notes_before,
    CASE WHEN v.site_before = v.site_id THEN 'update' ELSE 'insert' END AS operation
  FROM versions AS v
  WHERE v.was_told AND NOT v.is_deleted
),
departures AS (
  SELECT
    v.interaction_id,
    v.site_before AS site_id,
    v.version_epoch,
    v.version,
    v.changed_at,
    CASE WHEN NOT v.is_deleted THEN v.changed_by END AS changed_by,
    v.title_before,
    v.type_before,
    v.lead_before,
    v.start_datetime_before,
    v.timezone_before,
    v.end_datetime_before,
    v.location_before,
    v.description_before,
    v.notes_before
  FROM versions AS v
  WHERE v.site_before IS NOT NULL AND (v.is_deleted OR v.site_id <> v.site_before)
),
changes AS (
  SELECT a.site_id, a.interaction_id, a.version_epoch, a.version, a.operation, a.changed_at, a.changed_by, 'title' AS column_name, a.title_before AS old_value, a.title AS new_value
  FROM arrivals AS a
  UNION ALL
  SELECT d.site_id, d.interaction_id, d.version_epoch, d.version, 'delete' AS operation, d.changed_at, d.changed_by, 'title' AS column_name, d.title_before AS old_value, CAST(NULL AS VARCHAR) AS new_value
  FROM departures AS d
  UNION ALL
  SELECT a.site_id, a.interaction_id, a.version_epoch, a.version, a.operation, a.changed_at, a.changed_by, 'type' AS column_name, a.type_before AS old_value, a.type AS new_value
  FROM arrivals AS a
  UNION ALL
  SELECT d.site_id, d.interaction_id, d.version_epoch, d.version, 'delete' AS operation, d.changed_at, d.changed_by, 'type' AS column_name, d.type_before AS old_value, CAST(NULL AS VARCHAR) AS new_value
  FROM departures AS d
  UNION ALL
  SELECT a.site_id, a.interaction_id, a.version_epoch, a.version, a.operation, a.changed_at, a.changed_by, 'lead' AS column_name, a.lead_before AS old_value, a.lead AS new_value
  FROM arrivals AS a
  UNION ALL
  SELECT d.site_id, d.interaction_id, d.version_epoch, d.version, 'delete' AS operation, d.changed_at, d.changed_by, 'lead' AS column_name, d.lead_before AS old_value, CAST(NULL AS VARCHAR) AS new_value
  FROM departures AS d
  UNION ALL
  SELECT a.site_id, a.interaction_id, a.version_epoch, a.version, a.operation, a.changed_at, a.changed_by, 'start_datetime' AS column_name, a.start_datetime_before AS old_value, a.start_datetime AS new_value
  FROM arrivals AS a
  UNION ALL
  SELECT d.site_id, d.interaction_id, d.version_epoch, d.version, 'delete' AS operation, d.changed_at, d.changed_by, 'start_datetime' AS column_name, d.start_datetime_before AS old_value, CAST(NULL AS VARCHAR) AS new_value
  FROM departures AS d
  UNION ALL
  SELECT a.site_id, a.interaction_id, a.version_epoch, a.version, a.operation, a.changed_at, a.changed_by, 'timezone' AS column_name, a.timezone_before AS old_value, a.timezone AS new_value
  FROM arrivals AS a
  UNION ALL
  SELECT d.site_id, d.interaction_id, d.version_epoch, d.version, 'delete' AS operation, d.changed_at, d.changed_by, 'timezone' AS column_name, d.timezone_before AS old_value, CAST(NULL AS VARCHAR) AS new_value
  FROM departures AS d
  UNION ALL
  SELECT a.site_id, a.interaction_id, a.version_epoch, a.version, a.operation, a.changed_at, a.changed_by, 'end_datetime' AS column_name, a.end_datetime_before AS old_value, a.end_datetime AS new_value
  FROM arrivals AS a
  UNION ALL
  SELECT d.site_id, d.interaction_id, d.version_epoch, d.version, 'delete' AS operation, d.changed_at, d.changed_by, 'end_datetime' AS column_name, d.end_datetime_before AS old_value, CAST(NULL AS VARCHAR) AS new_value
  FROM departures AS d
  UNION ALL
  SELECT a.site_id, a.interaction_id, a.version_epoch, a.version, a.operation, a.changed_at, a.changed_by, 'location' AS column_name, a.location_before AS old_value, a.location AS new_value
  FROM arrivals AS a
  UNION ALL
  SELECT d.site_id, d.interaction_id, d.version_epoch, d.version, 'delete' AS operation, d.changed_at, d.changed_by, 'location' AS column_name, d.location_before AS old_value, CAST(NULL AS VARCHAR) AS new_value
  FROM departures AS d
  UNION ALL
  SELECT a.site_id, a.interaction_id, a.version_epoch, a.version, a.operation, a.changed_at, a.changed_by, 'description' AS column_name, a.description_before AS old_value, a.description AS new_value
  FROM arrivals AS a
  UNION ALL
  SELECT d.site_id, d.interaction_id, d.version_epoch, d.version, 'delete' AS operation, d.changed_at, d.changed_by, 'description' AS column_name, d.description_before AS old_value, CAST(NULL AS VARCHAR) AS new_value
  FROM departures AS d
  UNION ALL
  SELECT a.site_id, a.interaction_id, a.version_epoch, a.version, a.operation, a.changed_at, a.changed_by, 'notes' AS column_name, a.notes_before AS old_value, a.notes AS new_value
  FROM arrivals AS a
  UNION ALL
  SELECT d.site_id, d.interaction_id, d.version_epoch, d.version, 'delete' AS operation, d.changed_at, d.changed_by, 'notes' AS column_name, d.notes_before AS old_value, CAST(NULL AS VARCHAR) AS new_value
  FROM departures AS d
)
SELECT
  c.site_id,
  c.interaction_id,
  c.version_epoch,
  c.version,
  c.operation,
  c.changed_at,
  c.changed_by,
  c.column_name,
  c.old_value,
  c.new_value
FROM changes AS c
INNER JOIN gold.interactions.kept_days AS k ON CAST(c.changed_at AS DATE) = k.day
WHERE c.old_value IS DISTINCT FROM c.new_value
