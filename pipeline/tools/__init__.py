"""Commands to look inside: stats, show, report, retry, corpus. Nothing imports them."""
