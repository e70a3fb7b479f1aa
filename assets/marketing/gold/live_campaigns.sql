WITH lately AS (
  SELECT
    m.campaign_id,
    m.currency,
    m.minute,
    m.impressions,
    m.clicks,
    m.conversions,
    m.spend,
    m.minute >= c.live_until - INTERVAL '1 hour' AS is_last_hour
  FROM silver.marketing.live_metrics AS m
  CROSS JOIN gold.marketing.clock AS c
  WHERE m.minute >= c.live_until - INTERVAL '24 hours'
),
counted AS (
  SELECT
    l.campaign_id,
    l.currency,
    MAX(l.minute) AS last_minute,
    CAST(SUM(CASE WHEN l.is_last_hour THEN l.impressions ELSE 0 END) AS BIGINT) AS impressions_hour,
    CAST(SUM(CASE WHEN l.is_last_hour THEN l.clicks ELSE 0 END) AS BIGINT) AS clicks_hour,
    CAST(SUM(CASE WHEN l.is_last_hour THEN l.conversions ELSE 0 END) AS BIGINT) AS conversions_hour,
    CAST(SUM(CASE WHEN l.is_last_hour THEN l.spend ELSE 0 END) AS DECIMAL(18, 2)) AS spend_hour,
    CAST(SUM(l.impressions) AS BIGINT) AS impressions_24_hours,
    CAST(SUM(l.clicks) AS BIGINT) AS clicks_24_hours,
    CAST(SUM(l.conversions) AS BIGINT) AS conversions_24_hours,
    CAST(SUM(l.spend) AS DECIMAL(18, 2)) AS spend_24_hours
  FROM lately AS l
  GROUP BY l.campaign_id, l.currency
)
SELECT
  n.campaign_id,
  n.currency,
  c.channel,
  n.last_minute,
  n.impressions_hour,
  n.clicks_hour,
  n.conversions_hour,
  n.spend_hour,
  n.impressions_24_hours,
  n.clicks_24_hours,
  n.conversions_24_hours,
  n.spend_24_hours
FROM counted AS n
INNER JOIN gold.marketing.campaigns AS c ON n.campaign_id = c.campaign_id
