WITH points AS (
  SELECT
    t.device_id,
    t.sensor_type,
    DATE_TRUNC('hour', t.measured_at) AS hour_start,
    t.sensor_value,
    CASE WHEN t.written_at >= DATE_TRUNC('hour', t.measured_at) + INTERVAL '1 hour' THEN 1 ELSE 0 END AS is_late
  FROM silver.commerce.device_telemetry AS t
)
SELECT
  p.device_id,
  p.sensor_type,
  p.hour_start,
  p.hour_start + INTERVAL '1 hour' AS hour_end,
  CAST(COUNT(p.sensor_value) AS BIGINT) AS points,
  CAST(SUM(p.is_late) AS BIGINT) AS late_points,
  MIN(p.sensor_value) AS min_value,
  MAX(p.sensor_value) AS max_value,
  CAST(SUM(CAST(p.sensor_value AS DECIMAL(28, 6))) AS DOUBLE) / COUNT(p.sensor_value) AS mean_value
FROM points AS p
GROUP BY p.device_id, p.sensor_type, p.hour_start
