"""What people look at: a run's report, its summary on a terminal, two runs side by side, graphs and dashboards."""
