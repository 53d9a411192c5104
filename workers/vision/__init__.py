"""Networks and pictures: what training and scoring share."""
