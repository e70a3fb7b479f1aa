WITH studies AS (
  SELECT
    CAST(COUNT(l.study_id) AS BIGINT) AS studies_total,
    CAST(COUNT(CASE WHEN l.status IN ('recruiting', 'running') THEN l.study_id END) AS BIGINT) AS studies_active
  FROM gold.research.study_lifecycle AS l
),
people AS (
  SELECT CAST(COUNT(p.participant_id) AS BIGINT) AS participants
  FROM gold.research.consented_participants AS p
),
applied AS (
  SELECT
    CAST(COUNT(a.application_id) AS BIGINT) AS applications,
    CAST(COUNT(CASE WHEN a.status = 'submitted' THEN a.application_id END) AS BIGINT) AS applications_undecided,
    CAST(COUNT(CASE WHEN a.status = 'approved' THEN a.application_id END) AS BIGINT) AS applications_approved
  FROM gold.research.consented_applications AS a
),
completed AS (
  SELECT CAST(COUNT(c.completion_id) AS BIGINT) AS completions
  FROM gold.research.consented_completions AS c
)
SELECT
  k.as_of,
  s.studies_total,
  s.studies_active,
  p.participants,
  a.applications,
  a.applications_undecided,
  a.applications_approved,
  c.completions,
  CAST(ROUND(CAST(100 * c.completions AS DECIMAL(38, 6)) / CAST(NULLIF(a.applications_approved, 0) AS DECIMAL(38, 6)), 2) AS DECIMAL(9, 2)) AS completion_percent
FROM gold.research.clock AS k
CROSS JOIN studies AS s
CROSS JOIN people AS p
CROSS JOIN applied AS a
CROSS JOIN completed AS c
