"""Videos in, shards out: seven stages that turn any labelled videos into one small exact dataset."""
