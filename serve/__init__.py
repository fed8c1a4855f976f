"""The scoring service, the stream that feeds it, and the platform on one machine."""
