WITH work AS (
  SELECT
    t.id,
    t.project_id,
    t.assigned_to,
    t.status,
    t.updated_at,
    t.status IN ('todo', 'in_progress', 'in_review') AS is_open,
    t.due_date < c.as_of AS is_due
  FROM silver.tasks.tasks AS t
  CROSS JOIN gold.tasks.clock AS c
  WHERE t.project_id IS NOT NULL
),
counted AS (
  SELECT
    w.project_id,
    CAST(COUNT(w.id) AS BIGINT) AS total,
    CAST(COUNT(CASE WHEN w.status = 'completed' THEN w.id END) AS BIGINT) AS completed,
    CAST(COUNT(CASE WHEN w.status = 'cancelled' THEN w.id END) AS BIGINT) AS cancelled,
    CAST(COUNT(CASE WHEN w.is_open THEN w.id END) AS BIGINT) AS still_open,
    CAST(COUNT(CASE WHEN w.is_open AND w.is_due THEN w.id END) AS BIGINT) AS overdue,
    CAST(COUNT(DISTINCT w.assigned_to) AS BIGINT) AS members,
    MAX(w.updated_at) AS last_change_at
  FROM work AS w
  GROUP BY w.project_id
)
SELECT
  p.id AS project_id,
  p.name AS project_name,
  p.status,
  p.owner_id,
  COALESCE(c.total, 0) AS tasks_total,
  COALESCE(c.completed, 0) AS tasks_completed,
  COALESCE(c.cancelled, 0) AS tasks_cancelled,
  COALESCE(c.still_open, 0) AS tasks_open,
  COALESCE(c.overdue, 0) AS tasks_overdue,
  COALESCE(c.members, 0) AS members,
  CAST(ROUND(CAST(100 * c.completed AS DECIMAL(38, 6)) / CAST(NULLIF(c.total - c.cancelled, 0) AS DECIMAL(38, 6)), 2) AS DECIMAL(5, 2)) AS progress_percent,
  c.last_change_at
FROM silver.tasks.projects AS p
LEFT JOIN counted AS c ON p.id = c.project_id
WHERE p.status <> 'deleted'
