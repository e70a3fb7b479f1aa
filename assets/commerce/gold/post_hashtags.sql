WITH tagged AS (
  SELECT
    p.post_id,
    p.user_id,
    p.created_at,
    p.likes,
    p.shares,
    p.comments,
    UNNEST(p.hashtags) AS tag
  FROM silver.commerce.posts AS p
),
tags AS (
  SELECT
    t.post_id,
    t.user_id,
    t.created_at,
    t.likes,
    t.shares,
    t.comments,
    LOWER(t.tag) AS hashtag
  FROM tagged AS t
  WHERE t.tag IS NOT NULL
)
SELECT DISTINCT
  g.post_id,
  g.hashtag,
  g.user_id,
  CAST(g.created_at AS DATE) AS day,
  COALESCE(g.likes, 0) AS likes,
  COALESCE(g.shares, 0) AS shares,
  COALESCE(g.comments, 0) AS comments
FROM tags AS g
