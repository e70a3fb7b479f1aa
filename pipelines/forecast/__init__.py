"""Forecasts of daily series: back-tested, with intervals, each row naming its model and what it was made of."""
