"""The manifests: the row of each as a type, its parquet schema, and the failure codes."""
