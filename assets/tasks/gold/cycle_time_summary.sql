WITH hours AS (
  SELECT
    DATE_TRUNC('month', t.completed_at) AS completed_month,
    COALESCE(t.priority, 'none') AS priority,
    t.task_id,
    CASE WHEN t.was_late THEN t.task_id END AS late_task_id,
    t.lead_seconds / 3600.0 AS lead_hours,
    t.cycle_seconds / 3600.0 AS cycle_hours
  FROM gold.tasks.cycle_times AS t
)
SELECT
  h.completed_month,
  h.priority,
  CAST(COUNT(h.task_id) AS BIGINT) AS tasks,
  CAST(COUNT(h.late_task_id) AS BIGINT) AS tasks_late,
  ROUND(MEDIAN(h.lead_hours), 2) AS median_lead_hours,
  ROUND(MEDIAN(h.cycle_hours), 2) AS median_cycle_hours,
  ROUND(QUANTILE_CONT(h.cycle_hours, 0.9), 2) AS p90_cycle_hours
FROM hours AS h
GROUP BY h.completed_month, h.priority
