WITH versions AS (
  SELECT
    h.id,
    h.status,
    h.updated_at,
    LAG(h.status) OVER (PARTITION BY h.id ORDER BY h.source_epoch, h.source_commit, h.source_event, h.source_offset) AS status_before
  FROM history.tasks.tasks AS h
  WHERE h.verdict = 'kept'
),
steps AS (
  SELECT
    v.id AS task_id,
    MIN(CASE WHEN v.status = 'in_progress' THEN v.updated_at END) AS started_at,
    MIN(CASE WHEN v.status = 'in_review' THEN v.updated_at END) AS review_at,
    CAST(COUNT(CASE WHEN v.status = 'in_progress' AND COALESCE(v.status_before, '') <> 'in_progress' THEN v.id END) AS BIGINT) AS times_started
  FROM versions AS v
  GROUP BY v.id
),
done AS (
  SELECT
    t.id AS task_id,
    t.project_id,
    t.priority,
    t.created_at,
    t.completed_at,
    t.completed_at > t.due_date AS was_late
  FROM silver.tasks.tasks AS t
  WHERE t.status = 'completed' AND t.completed_at IS NOT NULL AND t.created_at IS NOT NULL
),
timed AS (
  SELECT
    d.task_id,
    d.project_id,
    d.priority,
    d.created_at,
    s.started_at,
    s.review_at,
    d.completed_at,
    CAST(EXTRACT(EPOCH FROM DATE_TRUNC('second', d.created_at)) AS BIGINT) AS created_epoch,
    CAST(EXTRACT(EPOCH FROM DATE_TRUNC('second', s.started_at)) AS BIGINT) AS started_epoch,
    CAST(EXTRACT(EPOCH FROM DATE_TRUNC('second', s.review_at)) AS BIGINT) AS review_epoch,
    CAST(EXTRACT(EPOCH FROM DATE_TRUNC('second', d.completed_at)) AS BIGINT) AS completed_epoch,
    COALESCE(s.times_started, 0) AS times_started,
    d.was_late
  FROM done AS d
  LEFT JOIN steps AS s ON d.task_id = s.task_id
)
SELECT
  t.task_id,
  t.project_id,
  t.priority,
  t.created_at,
  t.started_at,
  t.review_at,
  t.completed_at,
  t.completed_epoch - t.created_epoch AS lead_seconds,
  t.completed_epoch - t.started_epoch AS cycle_seconds,
  t.completed_epoch - t.review_epoch AS review_seconds,
  t.times_started,
  t.was_late
FROM timed AS t
