"""Commands to inspect and steer the pipeline: stats, show, report, retry, corpus. Nothing imports them."""
