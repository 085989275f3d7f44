"""What ``fit`` does, from the user's data to the fitted estimator."""
