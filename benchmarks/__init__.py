"""Each module prints one table of ratios, measured side by side in one run; missed targets are facts, not errors."""
