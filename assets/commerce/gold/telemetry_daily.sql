WITH points AS (
  SELECT
    t.device_id,
    t.sensor_type,
    DATE_TRUNC('day', t.measured_at) AS day_start,
    t.sensor_value,
    CASE WHEN t.written_at >= DATE_TRUNC('day', t.measured_at) + INTERVAL '1 day' THEN 1 ELSE 0 END AS is_late
  FROM silver.commerce.device_telemetry AS t
)
SELECT
  p.device_id,
  p.sensor_type,
  p.day_start,
  p.day_start + INTERVAL '1 day' AS day_end,
  CAST(COUNT(p.sensor_value) AS BIGINT) AS points,
  CAST(SUM(p.is_late) AS BIGINT) AS late_points,
  MIN(p.sensor_value) AS min_value,
  MAX(p.sensor_value) AS max_value,
  CAST(SUM(CAST(p.sensor_value AS DECIMAL(28, 6))) AS DOUBLE) / COUNT(p.sensor_value) AS mean_value
FROM points AS p
GROUP BY p.device_id, p.sensor_type, p.day_start
