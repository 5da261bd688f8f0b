"""The manifests: the row of each as a type, its parquet schema, reading and writing, and the failure codes."""
