WITH changes AS (
  SELECT
    a.site_id,
    CAST(a.changed_at AS DATE) AS day,
    a.interaction_id,
    CONCAT(a.interaction_id, '/', a.version_epoch, '/', a.version) AS change,
    a.operation,
    a.changed_by
  FROM gold.interactions.audit_trail AS a
)
SELECT
  c.site_id,
  c.day,
  CAST(COUNT(DISTINCT CASE WHEN c.operation = 'insert' THEN c.change END) AS BIGINT) AS inserted,
  CAST(COUNT(DISTINCT CASE WHEN c.operation = 'update' THEN c.change END) AS BIGINT) AS updates,
  CAST(COUNT(DISTINCT CASE WHEN c.operation = 'delete' THEN c.change END) AS BIGINT) AS deleted,
  CAST(COUNT(DISTINCT c.interaction_id) AS BIGINT) AS interactions_touched,
  CAST(COUNT(DISTINCT c.changed_by) AS BIGINT) AS people
FROM changes AS c
GROUP BY c.site_id, c.day
