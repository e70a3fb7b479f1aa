SELECT
  h.day,
  h.hashtag,
  CAST(COUNT(h.post_id) AS BIGINT) AS posts,
  CAST(COUNT(DISTINCT h.user_id) AS BIGINT) AS people,
  CAST(SUM(h.likes) AS BIGINT) AS likes,
  CAST(SUM(h.shares) AS BIGINT) AS shares,
  CAST(SUM(h.comments) AS BIGINT) AS comments
FROM gold.commerce.post_hashtags AS h
GROUP BY h.day, h.hashtag
