WITH created AS (
  SELECT
    t.created_by AS user_id,
    COUNT(t.id) AS tasks_created
  FROM silver.tasks.tasks AS t
  GROUP BY t.created_by
),
work AS (
  SELECT
    t.id,
    t.assigned_to AS user_id,
    t.status,
    t.priority,
    t.completed_at,
    t.status IN ('todo', 'in_progress', 'in_review') AS is_open,
    t.due_date < c.as_of AS is_due
  FROM silver.tasks.tasks AS t
  CROSS JOIN gold.tasks.clock AS c
  WHERE t.assigned_to IS NOT NULL
),
assigned AS (
  SELECT
    w.user_id,
    COUNT(w.id) AS tasks_assigned,
    COUNT(CASE WHEN w.is_open THEN w.id END) AS tasks_open,
    COUNT(CASE WHEN w.status = 'completed' THEN w.id END) AS tasks_completed,
    COUNT(CASE WHEN w.is_open AND w.is_due THEN w.id END) AS tasks_overdue,
    COUNT(CASE WHEN w.is_open AND w.priority = 'critical' THEN w.id END) AS tasks_critical,
    MAX(CASE WHEN w.status = 'completed' THEN w.completed_at END) AS last_completed_at
  FROM work AS w
  GROUP BY w.user_id
)
SELECT
  u.id AS user_id,
  CAST(COALESCE(c.tasks_created, 0) AS BIGINT) AS tasks_created,
  CAST(COALESCE(a.tasks_assigned, 0) AS BIGINT) AS tasks_assigned,
  CAST(COALESCE(a.tasks_open, 0) AS BIGINT) AS tasks_open,
  CAST(COALESCE(a.tasks_completed, 0) AS BIGINT) AS tasks_completed,
  CAST(COALESCE(a.tasks_overdue, 0) AS BIGINT) AS tasks_overdue,
  CAST(COALESCE(a.tasks_critical, 0) AS BIGINT) AS tasks_critical,
  a.last_completed_at
FROM silver.tasks.users AS u
LEFT JOIN created AS c ON u.id = c.user_id
LEFT JOIN assigned AS a ON u.id = a.user_id
WHERE u.status <> 'deleted'
