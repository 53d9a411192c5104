"""Real servers for tests: MongoDB's protocol, S3 (two), Redis; started here, or named by URL."""
