"""The stream consumer: records in, scores out, and a checkpoint behind them."""
