"""What answers TensorFlow Serving's protocols: models that come and go on disk, requests, replies, and their limits."""
