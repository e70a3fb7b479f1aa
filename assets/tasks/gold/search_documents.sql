WITH kept AS (
  SELECT
    h.id,
    COUNT(h.source_event) AS versions
  FROM history.tasks.tasks AS h
  WHERE h.verdict = 'kept'
  GROUP BY h.id
),
newest AS (
  SELECT
    h.id,
    CASE WHEN h.verdict <> 'kept' THEN 'delete' WHEN k.versions = 1 THEN 'insert' ELSE 'update' END AS operation,
    CASE WHEN h.verdict = 'kept' THEN h.title END AS title,
    CASE WHEN h.verdict = 'kept' THEN h.description END AS description,
    CASE WHEN h.verdict = 'kept' THEN h.status END AS status,
    CASE WHEN h.verdict = 'kept' THEN h.priority END AS priority,
    CASE WHEN h.verdict = 'kept' THEN h.tags END AS tags,
    CASE WHEN h.verdict = 'kept' THEN h.created_by END AS created_by,
    CASE WHEN h.verdict = 'kept' THEN h.assigned_to END AS assigned_to,
    CASE WHEN h.verdict = 'kept' THEN h.project_id END AS project_id,
    CASE WHEN h.verdict = 'kept' THEN h.due_date END AS due_date,
    CASE WHEN h.verdict = 'kept' THEN h.created_at END AS created_at,
    CASE WHEN h.verdict = 'kept' THEN h.updated_at END AS updated_at,
    h.source_epoch AS version_epoch,
    h.source_event AS version
  FROM history.tasks.tasks AS h
  INNER JOIN kept AS k ON h.id = k.id
  WHERE h.valid_to IS NULL
)
SELECT
  n.id,
  n.operation,
  n.title,
  n.description,
  n.status,
  n.priority,
  n.tags,
  n.created_by,
  n.assigned_to,
  n.project_id,
  n.due_date,
  n.created_at,
  n.updated_at,
  n.version_epoch,
  n.version
FROM newest AS n
