"""The gateway: takes jobs, trainings, ingests and pictures over HTTP, reports progress and hands out results."""
