"""What should never reach an account: the CrossGuard policy pack."""
