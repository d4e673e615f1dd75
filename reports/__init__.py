"""The reporter: reads the logs of libisan.so and says what they mean."""
