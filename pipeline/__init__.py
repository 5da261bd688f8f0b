"""Videos in, shards out: eight stages from labelled videos to one small reproducible dataset."""
