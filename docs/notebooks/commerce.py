# %% [markdown]
# # A shop's week, from gold
#
# Cells in the percent format: VS Code and Jupytext open this file as a notebook, and a test runs it as a script.
# It reads the lake that `MEDALLION_LAKE` names; `medallion demo` makes one in `.demo/lake`.

# %%
import polars as pl

from pipelines.contract import load_catalog
from pipelines.features import feature_table, training_set
from pipelines.ingest import open_lake
from pipelines.query import query
from pipelines.settings import load_settings

settings = load_settings()
lake, catalog = open_lake(settings), load_catalog(settings.assets)

# %% [markdown]
# What did each day bring?

# %%
days = query(
    lake,
    """
    SELECT t.date, d.order_count, d.total_revenue, d.avg_order_value
    FROM gold.commerce.daily_sales AS d
    INNER JOIN gold.commerce.dim_date AS t ON d.order_date_key = t.date_key
    ORDER BY t.date
    """,
)
days.head()

# %% [markdown]
# Which hours were corrected after they were over? What was confirmed later than the hour ended is late.

# %%
late = query(
    lake,
    """
    SELECT DATE_TRUNC('hour', o.created_at) AS hour_start, COUNT(DISTINCT a.order_id) AS orders_confirmed_late
    FROM gold.commerce.orders_audit AS a
    INNER JOIN silver.commerce.orders AS o ON a.order_id = o.order_id
    WHERE a.operation_type = 'UPDATE' AND a.operation_timestamp >= DATE_TRUNC('hour', o.created_at) + INTERVAL '1 hour'
    GROUP BY DATE_TRUNC('hour', o.created_at)
    ORDER BY orders_confirmed_late DESC
    """,
)
late.head()

# %% [markdown]
# Can tomorrow's customers be told from today's features? Each order is a label: whether its customer had ordered in the
# month before it, out of what was known just before the order was placed, and of nothing that came later.

# %%
orders = query(
    lake,
    "SELECT o.customer_id, o.created_at AS as_of, o.total_amount AS label FROM silver.commerce.orders AS o",
)
training = training_set(lake, catalog, feature_table(catalog), orders)
training.group_by("lifetime_segment").agg(
    pl.len().alias("orders"), pl.col("label").mean().round(2).alias("mean_next_order")
).sort("orders", descending=True)
