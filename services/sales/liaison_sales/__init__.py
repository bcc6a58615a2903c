"""Sales force automation: products, pipelines, opportunities."""
