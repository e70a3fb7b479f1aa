WITH told AS (
  SELECT t.created_by AS user_id, CAST(t.created_at AS DATE) AS day, 1 AS created, 0 AS completed, 0 AS acted
  FROM silver.tasks.tasks AS t
  UNION ALL
  SELECT t.assigned_to AS user_id, CAST(t.completed_at AS DATE) AS day, 0 AS created, 1 AS completed, 0 AS acted
  FROM silver.tasks.tasks AS t
  WHERE t.status = 'completed'
  UNION ALL
  SELECT a.actor_id AS user_id, CAST(a.created_at AS DATE) AS day, 0 AS created, 0 AS completed, 1 AS acted
  FROM gold.tasks.activity AS a
)
SELECT
  t.user_id,
  t.day,
  CAST(SUM(t.created) AS BIGINT) AS tasks_created,
  CAST(SUM(t.completed) AS BIGINT) AS tasks_completed,
  CAST(SUM(t.acted) AS BIGINT) AS actions
FROM told AS t
WHERE t.user_id IS NOT NULL AND t.day IS NOT NULL
GROUP BY t.user_id, t.day
