WITH accounts AS (
  SELECT
    CAST(COUNT(u.id) AS BIGINT) AS users_total,
    CAST(COUNT(CASE WHEN u.status = 'active' THEN u.id END) AS BIGINT) AS users_active
  FROM silver.tasks.users AS u
  WHERE u.status <> 'deleted'
),
sessions AS (
  SELECT
    CAST(COUNT(DISTINCT CASE WHEN s.last_accessed_at >= c.as_of - INTERVAL '30 days' THEN s.user_id END) AS BIGINT) AS users_seen_30_days,
    CAST(COUNT(CASE WHEN s.expires_at > c.as_of THEN s.id END) AS BIGINT) AS sessions_open
  FROM silver.tasks.sessions AS s
  CROSS JOIN gold.tasks.clock AS c
),
resets AS (
  SELECT CAST(COUNT(CASE WHEN r.used THEN r.id END) AS BIGINT) AS resets_used
  FROM silver.tasks.password_resets AS r
),
projects AS (
  SELECT CAST(COUNT(p.id) AS BIGINT) AS projects_active
  FROM silver.tasks.projects AS p
  WHERE p.status = 'active'
),
work AS (
  SELECT
    t.id,
    t.status,
    t.assigned_to,
    t.status IN ('todo', 'in_progress', 'in_review') AS is_open,
    t.due_date < c.as_of AS is_due,
    t.created_at >= c.as_of - INTERVAL '7 days' AS is_new,
    t.completed_at >= c.as_of - INTERVAL '7 days' AS is_fresh
  FROM silver.tasks.tasks AS t
  CROSS JOIN gold.tasks.clock AS c
),
tasks AS (
  SELECT
    CAST(COUNT(w.id) AS BIGINT) AS tasks_total,
    CAST(COUNT(CASE WHEN w.status = 'todo' THEN w.id END) AS BIGINT) AS tasks_todo,
    CAST(COUNT(CASE WHEN w.status = 'in_progress' THEN w.id END) AS BIGINT) AS tasks_in_progress,
    CAST(COUNT(CASE WHEN w.status = 'in_review' THEN w.id END) AS BIGINT) AS tasks_in_review,
    CAST(COUNT(CASE WHEN w.status = 'completed' THEN w.id END) AS BIGINT) AS tasks_completed,
    CAST(COUNT(CASE WHEN w.status = 'cancelled' THEN w.id END) AS BIGINT) AS tasks_cancelled,
    CAST(COUNT(CASE WHEN w.is_open AND w.assigned_to IS NULL THEN w.id END) AS BIGINT) AS tasks_unassigned,
    CAST(COUNT(CASE WHEN w.is_open AND w.is_due THEN w.id END) AS BIGINT) AS tasks_overdue,
    CAST(COUNT(CASE WHEN w.is_new THEN w.id END) AS BIGINT) AS tasks_created_7_days,
    CAST(COUNT(CASE WHEN w.status = 'completed' AND w.is_fresh THEN w.id END) AS BIGINT) AS tasks_completed_7_days
  FROM work AS w
)
SELECT
  c.as_of,
  a.users_total,
  a.users_active,
  s.users_seen_30_days,
  s.sessions_open,
  r.resets_used,
  p.projects_active,
  t.tasks_total,
  t.tasks_todo,
  t.tasks_in_progress,
  t.tasks_in_review,
  t.tasks_completed,
  t.tasks_cancelled,
  t.tasks_unassigned,
  t.tasks_overdue,
  t.tasks_created_7_days,
  t.tasks_completed_7_days
FROM gold.tasks.clock AS c
CROSS JOIN accounts AS a
CROSS JOIN sessions AS s
CROSS JOIN resets AS r
CROSS JOIN projects AS p
CROSS JOIN tasks AS t
