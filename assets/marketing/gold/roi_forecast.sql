SELECT
  d.channel,
  d.day,
  d.roi
FROM gold.marketing.daily_channels AS d
